"""The log of our own processes: one JSON object for each line, or lines for people, through the standard `logging`."""

from __future__ import annotations

import json
import logging
import re
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from serving.telemetry.config import TelemetryConfig
from serving.telemetry.notes import here

HIDDEN = "[hidden]"
_SHORTEST_HIDDEN = 3
"""Characters: a shorter text would be found everywhere."""
_WORD = re.compile(r"[^\W_]{3,}")


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
    """Where the fault is, and of what kind; what it says only if no word of the request is in it.

    An error's message may repeat what it was given, in part, or escaped any number of times.
    """
    error = _error_of(event)
    if error is None:
        return event
    text, words = "".join(traceback.format_exception(error)), _words()
    for one in _chain(error):
        message = "".join(traceback.format_exception_only(one))
        if any(word in message.casefold() for word in words):
            text = text.replace(message, f"{type(one).__name__}: {HIDDEN}\n")
    event["exception"] = text
    return event


def _error_of(event: EventDict) -> BaseException | None:
    info = event.pop("exc_info", None)
    error: BaseException | None = info[1] if isinstance(info, tuple) else info
    return error


def _chain(error: BaseException) -> list[BaseException]:
    """The error and those before it."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__]
    return found


def _words() -> set[str]:
    """Of the request's texts, in small letters, as they are and as escapes write them."""
    notes = here()
    words = {word for text in (notes.texts if notes else ()) for word in _WORD.findall(text)}
    escaped = {form for word in words for form in (json.dumps(word)[1:-1], ascii(word)[1:-1])}
    return {word.casefold() for word in words | escaped}


def _without_texts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Whatever wrote the line."""
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
