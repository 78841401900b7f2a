"""What a stage's process tells of every request: seconds and errors for Prometheus, a line of the log, a span."""

from __future__ import annotations

import json
import logging
import secrets
from contextlib import AbstractContextManager
from typing import Any

from serving.errors import Status, status_of
from serving.fields import RawFields
from serving.report import Stopwatch
from serving.telemetry import catalogue as of
from serving.telemetry.instruments import Instruments
from serving.telemetry.notes import Notes, note_texts, taking
from serving.telemetry.quiet import quiet
from serving.telemetry.traces import NO_SPAN, NO_TRACES, TRACEPARENT, Traces
from vico.errors import VicoError

logger = logging.getLogger("vico.request")

_TEXTS = ("prompt", "negative_prompt")


class StageTelemetry:
    """Of one stage.

    Args:
        stage: its name.
        log_prompts: whether the texts of requests may stand in the log.
        traces: where spans go to.
        make: instruments of the process.
    """

    def __init__(
        self,
        stage: str,
        log_prompts: bool = False,
        traces: Traces = NO_TRACES,
        make: Instruments | None = None,
    ) -> None:
        self.stage = stage
        self.log_prompts = log_prompts
        self.traces = traces
        make = make or Instruments(fixed={"stage": stage})
        self._seconds = make.histogram(of.STAGE_SECONDS)[""]
        self._errors = make.counter(of.STAGE_ERRORS)

    def begin(self, request: Any) -> Handling:
        """A request of Triton's has come."""
        return Handling(self, request)

    @quiet
    def tell(self, notes: Notes, seconds: float, status: str) -> None:
        """It was answered, with an error's status or without one ("")."""
        if status:
            self._errors[status].inc()
        if notes.routine:
            return
        self._seconds.observe(seconds)
        fields = {"stage": self.stage, "seconds": round(seconds, 6), "ending": status or "done", **notes.facts}
        # also from threads that were not there when the request came
        with taking(notes):
            logger.info("%s %s", self.stage, status or "done", extra=fields)


class Handling:
    """One request in one stage."""

    def __init__(self, telemetry: StageTelemetry, request: Any) -> None:
        self._telemetry = telemetry
        self._watch = Stopwatch()
        self._open = True
        self.parameters: dict[str, Any] = json.loads(request.parameters() or "{}")
        parent = str(self.parameters.get(TRACEPARENT, ""))
        self._span = telemetry.traces.begin(telemetry.stage, parent) if parent else NO_SPAN
        self.notes = Notes(request.request_id()[:64] or secrets.token_hex(8), self._span.traceparent)

    def running(self) -> AbstractContextManager[None]:
        """In this thread the request is worked on."""
        return taking(self.notes)

    def reads(self, inputs: RawFields) -> None:
        """The first stage: a person's words come as they were sent."""
        texts = {name: _text(inputs[name]) for name in _TEXTS if name in inputs}
        note_texts(*texts.values())
        if self._telemetry.log_prompts:
            self.notes.facts |= texts

    @quiet
    def end(self, error: Exception | None) -> None:
        """It is about to be answered; counts once."""
        if not self._open:
            return
        self._open = False
        status = ""
        if error is not None:
            status = status_of(error) if isinstance(error, VicoError) else Status.INTERNAL
        self._telemetry.tell(self.notes, self._watch.seconds, str(status))
        facts = {"request_id": self.notes.request_id} | {
            name: fact for name, fact in self.notes.facts.items() if name not in _TEXTS
        }
        self._span.end(facts, self.notes.phases, str(status))


def _text(array: Any) -> str:
    """What a client sent in the place of a text, whatever it is."""
    value = array.flat[0] if array.size else b""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
