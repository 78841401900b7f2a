"""OpenTelemetry: the server's spans become children of the caller's (extra `tracing`); nothing without the library."""

from __future__ import annotations

Metadata = tuple[tuple[str, str], ...]

try:
    from opentelemetry.propagate import inject
except ImportError:

    def trace_metadata() -> Metadata:
        """No OpenTelemetry, no headers."""
        return ()

else:

    def trace_metadata() -> Metadata:
        """`traceparent` (and `tracestate`) of the current span, as W3C Trace Context; empty without one.

        Baggage stays here: what an application notes for itself is not the server's business.
        """
        carrier: dict[str, str] = {}
        inject(carrier)
        return tuple((name, carrier[name]) for name in ("traceparent", "tracestate") if carrier.get(name))
