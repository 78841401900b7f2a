"""One request at the front door, from its coming to its answer: counted, timed, logged, traced."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from serving.front.keys import Key
from serving.report import Stopwatch
from serving.telemetry import catalogue as of
from serving.telemetry.instruments import Instruments
from serving.telemetry.quiet import quiet
from serving.telemetry.traces import NO_SPAN, NO_TRACES, Span, Traces

logger = logging.getLogger("vico.request")


class FrontTelemetry:
    """What the front door's process tells of every request.

    Args:
        traces: where spans go to.
        make: instruments of the process.
    """

    def __init__(self, traces: Traces = NO_TRACES, make: Instruments | None = None) -> None:
        make = make or Instruments()
        self.traces = traces
        self._requests = make.counter(of.FRONT_REQUESTS)
        self._seconds = make.histogram(of.FRONT_SECONDS)[""]
        self._added = make.histogram(of.FRONT_ADDED)[""]
        self._calls = make.gauge(of.FRONT_CALLS)[""]
        self._inside = 0

    @contextmanager
    def visit(self, key: Key, method: str) -> Iterator[Visit]:
        """A request has come; it leaves at the end of the block."""
        visit = Visit(self.traces, key, method)
        self._count(1)
        try:
            yield visit
        finally:
            # also when gRPC cancels the block, because the client went away
            self._count(-1)
            self._tell(visit)

    @quiet
    def turned_away(self, status: grpc.StatusCode) -> None:
        """A call was refused before anything of it was read."""
        self._requests[status.name].inc()

    @quiet
    def _count(self, more: int) -> None:
        self._inside += more
        self._calls.set(self._inside)

    @quiet
    def _tell(self, visit: Visit) -> None:
        seconds, status = visit.watch.seconds, visit.status.name
        visit.span.end(visit.facts, (), "" if visit.status is grpc.StatusCode.OK else status)
        self._requests[status].inc()
        self._seconds.observe(seconds)
        if visit.behind_seconds is not None:
            self._added.observe(max(0.0, seconds - visit.behind_seconds))
        ending = "done" if visit.status is grpc.StatusCode.OK else status
        fields = {"stage": of.FRONT, "seconds": round(seconds, 6), "ending": ending}
        logger.info("front %s", ending, extra=visit.facts | fields)


class Visit:
    """One request; whoever serves it writes down how it went."""

    def __init__(self, traces: Traces, key: Key, method: str) -> None:
        self._traces = traces
        self.facts: dict[str, object] = {"method": method}
        self.comes_with(key)
        self.watch = Stopwatch()
        self.span: Span = NO_SPAN
        self.status = grpc.StatusCode.CANCELLED
        """Until something else is known."""
        self.request_id = ""
        self.behind_seconds: float | None = None
        """Triton's part; None = it is not a unary request, or was not asked."""

    def comes_with(self, key: Key) -> None:
        """The key by which it is served."""
        self.key = key
        self.facts |= {"client": key.client, "tenant": key.tenant}

    def is_of(self, request_id: str, model: str, parent: str) -> None:
        """What it wants is known, and the `traceparent` of whoever asks ("" = there is none)."""
        self.request_id = request_id
        self.facts |= {"request_id": request_id, "model": model}
        self.span = self._traces.begin(f"request {model}", parent, serves=True)

    @contextmanager
    def behind(self) -> Iterator[None]:
        """Meanwhile Triton works on it."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.behind_seconds = time.perf_counter() - began
