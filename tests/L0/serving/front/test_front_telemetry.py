"""What the front door tells of every request: numbers, a line of the log, a span."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fake_triton import call, refusal, request_of, run, served, text
from prometheus_client import CollectorRegistry

from serving.front.config import Limits
from serving.front.visit import FrontTelemetry
from serving.telemetry import catalogue as of
from serving.telemetry.instruments import Instruments

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
