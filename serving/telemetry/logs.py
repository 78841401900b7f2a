"""The log of our own processes: one JSON object for each line, or lines for people, through the standard `logging`."""

from __future__ import annotations

import json
import logging
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from serving.telemetry.config import TelemetryConfig
from serving.telemetry.notes import here

HIDDEN = "[hidden]"
_SHORTEST_HIDDEN = 3
"""Characters: a shorter text would be found everywhere."""


def configure_logs(config: TelemetryConfig) -> None:
    """Write to standard error; of others' libraries what is at least a warning."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(config))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("vico").setLevel(logging.INFO)


def formatter(config: TelemetryConfig) -> logging.Formatter:
    """Of every line. A field of `extra` becomes one of the object; a request's id is there while it is worked on."""
    last: Any = structlog.processors.JSONRenderer()
    if config.log_format == "text":
        last = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    chain: list[Processor] = [
        _with_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    # behind everything else, so that a traceback is read too
    hidden = [] if config.log_prompts else [_without_texts]
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=chain, processors=[remove, *hidden, last])


def _with_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if (notes := here()) is not None:
        event["request_id"] = notes.request_id
    return event


def _without_texts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Whatever wrote the line: an error's message may repeat what it was given."""
    notes = here()
    texts = [text for text in notes.texts if len(text) >= _SHORTEST_HIDDEN] if notes else []
    if not texts:
        return event
    return {key: _hide(value, texts) if isinstance(value, str) else value for key, value in event.items()}


def _hide(line: str, texts: list[str]) -> str:
    for text in sorted(texts, key=len, reverse=True):
        for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1]):
            line = line.replace(form, HIDDEN)
    return line
