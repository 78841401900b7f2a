"""The log of our own processes: one JSON object for each line, or lines for people, through the standard `logging`."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from serving.telemetry.config import TelemetryConfig
from serving.telemetry.notes import here
from serving.telemetry.redaction import hide, traceback_without


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
        _with_traceback if config.log_prompts else _with_traceback_without_texts,
    ]
    # behind everything else, so that all fields are read
    hidden = [] if config.log_prompts else [_without_texts]
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=chain, processors=[remove, *hidden, last])


def _with_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if (notes := here()) is not None:
        event["request_id"] = notes.request_id
    return event


def _with_traceback(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    error = _error_of(event)
    if error is not None:
        event["exception"] = "".join(traceback.format_exception(error))
    return event


def _with_traceback_without_texts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    error = _error_of(event)
    if error is not None:
        event["exception"] = traceback_without(error, _texts())
    return event


def _error_of(event: EventDict) -> BaseException | None:
    info = event.pop("exc_info", None)
    error: BaseException | None = info[1] if isinstance(info, tuple) else info
    return error


def _without_texts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Whatever wrote the line."""
    texts = _texts()
    if not texts:
        return event
    return {key: hide(value, texts) if isinstance(value, str) else value for key, value in event.items()}


def _texts() -> tuple[str, ...]:
    notes = here()
    return notes.texts if notes else ()
