"""OpenTelemetry's spans; imported only where traces are wanted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.telemetry.notes import Phase
from serving.telemetry.traces import TRACEPARENT

_W3C = TraceContextTextMapPropagator()


class OtelTraces:
    """See `serving.telemetry.traces.Traces`.

    Args:
        provider: where spans go to.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("vico")

    def begin(self, name: str, parent: str, *, serves: bool = False) -> OtelSpan:
        """See `Traces`."""
        context = _W3C.extract({TRACEPARENT: parent}, Context())
        kind = SpanKind.SERVER if serves else SpanKind.INTERNAL
        return OtelSpan(self._tracer, self._tracer.start_span(name, context, kind))


class OtelSpan:
    """See `serving.telemetry.traces.Span`."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span, Context())
        self._began = time.time_ns()

    @property
    def traceparent(self) -> str:
        """See `Span`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, self._context)
        return carrier.get(TRACEPARENT, "")

    def end(self, facts: Mapping[str, object], phases: Sequence[Phase], error: str) -> None:
        """See `Span`; the phases become its children."""
        for phase in phases:
            begin, end = (self._began + int(seconds * 1e9) for seconds in (phase.begin, phase.end))
            self._tracer.start_span(phase.name, self._context, start_time=begin).end(end)
        for name, fact in facts.items():
            if isinstance(fact, str | bool | int | float):
                self._span.set_attribute(f"vico.{name}", fact)
        if error:
            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()


def exporting() -> OtelTraces:
    """Spans that are sent, in batches and beside the work, to where OpenTelemetry's environment variables say."""
    provider = TracerProvider(resource=Resource.create({"service.name": "vico"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OtelTraces(provider)
