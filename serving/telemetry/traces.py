"""Traces with OpenTelemetry: off, and not even imported, unless its environment says where spans go to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Protocol

from serving.errors import LaunchError
from serving.telemetry.notes import Phase

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACEPARENT = "traceparent"
"""Request parameter by which a span reaches the stages (W3C Trace Context). No client can set it: the door does."""
_SWITCHES = (ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Span(Protocol):
    """A piece of work that has begun."""

    @property
    def traceparent(self) -> str:
        """For its children; "" = there is no trace."""

    def end(self, facts: Mapping[str, object], phases: Sequence[Phase], error: str) -> None:
        """It is over. `error`: the status, "" = it is done."""


class Traces(Protocol):
    """Begins spans."""

    def begin(self, name: str, parent: str, *, serves: bool = False) -> Span:
        """A span that begins now, under the `traceparent` `parent`. `serves`: its parent is a client's."""


class _NoSpan:
    traceparent = ""

    def end(self, facts: Mapping[str, object], phases: Sequence[Phase], error: str) -> None:
        """Nobody is told."""


NO_SPAN = _NoSpan()


class _NoTraces:
    def begin(self, name: str, parent: str, *, serves: bool = False) -> Span:
        return NO_SPAN


NO_TRACES: Traces = _NoTraces()
"""Nobody wants them."""


def wanted() -> bool:
    """Whether the environment says where spans go to."""
    return any(os.environ.get(name) for name in _SWITCHES)


def trace_to(endpoint: str | None) -> None:
    """Have this process and those that it starts send spans there; None = as the environment says.

    Raises:
        LaunchError: traces are wanted and cannot be had.
    """
    if endpoint:
        os.environ[ENDPOINT] = endpoint
    if wanted() and not all(find_spec(f"opentelemetry.{name}") for name in ("sdk", "exporter")):
        raise LaunchError("otlp_endpoint", "OpenTelemetry is not installed", "pip install 'vico[otel]'")


def open_traces() -> Traces:
    """Those of this process."""
    if not wanted():
        return NO_TRACES
    from serving.telemetry.otel import exporting

    return exporting()
