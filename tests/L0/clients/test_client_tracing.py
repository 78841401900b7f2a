"""OpenTelemetry: the trace of the caller goes on in the server, from every way of calling."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from fake_vico_server import FakeServer
from vico_client import AsyncClient, Client

trace = pytest.importorskip("opentelemetry.trace", reason="needs the extra: pip install 'vico-client[tracing]'")
SPAN_ID = 0x00F067AA0BA902B7
TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _span() -> object:
    context = trace.SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=trace.TraceFlags(1))
    return trace.use_span(trace.NonRecordingSpan(context))


def test_the_current_span_travels_with_every_call(server: FakeServer) -> None:
    with Client(server.address) as client, _span():  # type: ignore[attr-defined]
        client.generate("a toy")
        client.submit("a toy").result(30)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with _span():  # type: ignore[attr-defined]
                await client.generate("a toy")
                await client.submit("a toy")

    asyncio.run(main())
    assert [call.metadata.get("traceparent") for call in server.calls] == [TRACEPARENT] * 4


def test_without_a_span_nothing_is_sent(client: Client, server: FakeServer) -> None:
    client.generate("a toy")
    assert "traceparent" not in server.calls[0].metadata


def test_without_the_library_nothing_is_missed() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = sys.modules['opentelemetry.propagate'] = None\n"
        "from vico_client.tracing import trace_metadata; assert trace_metadata() == ()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
