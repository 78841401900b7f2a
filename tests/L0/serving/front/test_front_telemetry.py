"""What the front door tells of every request: numbers, a line of the log, a span."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_triton import call, refusal, request_of, run, served, text
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry

from serving.front.config import Limits
from serving.front.visit import FrontTelemetry
from serving.telemetry import catalogue as of
from serving.telemetry.instruments import Instruments
from serving.telemetry.otel import OtelTraces

WAIT = 60.0


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    found = registry.get_sample_value(name, labels)
    assert found is not None, f"{name} {labels}"
    return found


def test_the_door_counts_every_answer(tmp_path: Path) -> None:
    make = Instruments()
    good = request_of(prompt=text(b"a dog")).SerializeToString()

    async def work() -> None:
        telemetry = FrontTelemetry(make=make)
        async with served(tmp_path, telemetry=telemetry, limits=Limits(calls_per_client=1)) as (door, _, address):
            await call(address, good)
            await call(address, b"", "ServerLive")
            await refusal(address, b"\xff\xff")
            await refusal(address, b"", "LogSettings")
            door.shut(drop=False)
            await refusal(address, good)

    run(work())
    counts = {s: value(make.registry, "vico_front_requests_total", status=s) for s in of.GRPC_STATUSES}
    assert {status: count for status, count in counts.items() if count} == {
        "OK": 1, "INVALID_ARGUMENT": 1, "PERMISSION_DENIED": 1, "UNAVAILABLE": 1,
    }  # fmt: skip
    assert value(make.registry, "vico_front_request_seconds_count") == 3, "what was turned away unread took no time"
    assert value(make.registry, "vico_front_added_seconds_count") == 1
    added = value(make.registry, "vico_front_added_seconds_sum")
    assert 0 <= added <= value(make.registry, "vico_front_request_seconds_sum")
    assert value(make.registry, "vico_front_calls") == 0


def test_a_client_that_goes_away_is_counted_out(tmp_path: Path) -> None:
    make = Instruments()

    async def never(_request: Any, _context: Any) -> Any:
        await asyncio.sleep(WAIT)

    async def work() -> None:
        async with served(tmp_path, never, FrontTelemetry(make=make)) as (_, triton, address):
            good = request_of(prompt=text(b"a dog")).SerializeToString()
            waiting = asyncio.create_task(call(address, good))
            while not triton.seen:
                await asyncio.sleep(0.01)
            assert value(make.registry, "vico_front_calls") == 1
            waiting.cancel()
            while value(make.registry, "vico_front_calls"):
                await asyncio.sleep(0.01)

    run(work())
    assert value(make.registry, "vico_front_requests_total", status="CANCELLED") == 1


def test_a_request_is_a_line_and_a_span_that_the_stages_hang_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    good = request_of(prompt=text(b"a secret")).SerializeToString()

    async def work() -> list[str]:
        async with served(tmp_path, telemetry=FrontTelemetry(OtelTraces(provider))) as (_, triton, address):
            await call(address, good, metadata=[("traceparent", parent)])
            await call(address, good)
            return [seen.parameters["traceparent"].string_param for seen in triton.seen]

    caplog.set_level("INFO", "vico.request")
    handed_on = run(work())
    first, second = spans.get_finished_spans()
    contexts = [span.context for span in (first, second)]
    assert handed_on == [f"00-{c.trace_id:032x}-{c.span_id:016x}-{c.trace_flags:02x}" for c in contexts]
    assert first.parent is not None
    assert (first.context.trace_id, first.parent.span_id) == (int("a" * 32, 16), int("b" * 16, 16))
    assert second.parent is None
    assert first.kind is SpanKind.SERVER
    line = next(record for record in caplog.records if record.name == "vico.request")
    fields = vars(line)
    assert (fields["request_id"], fields["ending"], fields["model"]) == ("given-id", "done", "vico")
    assert fields["seconds"] >= 0
    assert "secret" not in first.to_json() + caplog.text + str(fields)


def test_a_client_cannot_name_a_span_to_the_stages(tmp_path: Path) -> None:
    request = request_of(prompt=text(b"a"))
    request.parameters["traceparent"].string_param = f"00-{'a' * 32}-{'b' * 16}-01"

    async def work() -> None:
        async with served(tmp_path) as (_, triton, address):
            status, _ = await refusal(address, request.SerializeToString())
            assert status == "INVALID_ARGUMENT"
            await call(address, request_of(prompt=text(b"a")).SerializeToString())
            assert "traceparent" not in triton.seen[0].parameters

    run(work())
