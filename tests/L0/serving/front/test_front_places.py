"""gRPC's room for calls: nobody takes it from others, with a key or without one, by saying nothing or half of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_triton import call, request_of, run, served, text

from serving.front.config import Limits
from serving.front.health import NOT_SERVING, SERVING, Health
from serving.front.keys import Key, hashed, write_keys
from serving.front.wire import HEALTH, SERVICE

GOOD = request_of(prompt=text(b"a dog")).SerializeToString()


def with_keys(tmp_path: Path, *names: str) -> str:
    file = tmp_path / "keys.json"
    write_keys(file, [Key(client=name, tenant=name, sha256=hashed(name)) for name in names])
    return str(file)


def half_sent(channel: Any, method: str, key: str = "") -> Any:
    """A unary call whose message never comes."""
    metadata = [("authorization", f"Bearer {key}")] if key else None
    return channel.stream_unary(method)(metadata=metadata)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.05)


async def status_of(waiting: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(waiting, 60)
    return f"{caught.value.code().name} {caught.value.details()}"


def test_half_messages_of_one_client_leave_room_for_others(tmp_path: Path) -> None:
    async def work() -> None:
        limits = Limits(calls=4, calls_per_client=2)
        async with (
            served(tmp_path, keys=with_keys(tmp_path, "one", "two"), limits=limits) as (door, _, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            silent = [half_sent(channel, SERVICE + method, "one") for method in ("ModelInfer", "ModelReady")]
            await until(lambda: _holds(door, 2))
            third = half_sent(channel, SERVICE + "ModelInfer", "one")
            assert "RESOURCE_EXHAUSTED request: 2 of this client are under way" in await status_of(third)
            assert await call(address, GOOD, metadata=[("authorization", "Bearer two")])
            for waiting in silent:
                waiting.cancel()
            await until(lambda: _holds(door, 0))

    run(work())


async def _holds(door: Any, places: int) -> bool:
    return bool(door.gate._places.total() == places)


def test_a_message_is_not_waited_for_without_end(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            served(tmp_path, limits=Limits(message_seconds=0.2)) as (door, _, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            line = await status_of(half_sent(channel, SERVICE + "ModelInfer"))
            assert (
                line == "UNAVAILABLE request: its message was not whole after 0.2 s; accepted: the same request later"
            )
            assert await half_sent(channel, HEALTH + "Check") == SERVING, "for which no message is waited"
            await until(lambda: _holds(door, 0))
            assert await call(address, GOOD)

    run(work())


def test_a_call_without_a_message_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path) as (_, triton, address), grpc.aio.insecure_channel(address) as channel:
            asked = half_sent(channel, SERVICE + "ModelInfer")
            await asked.done_writing()
            assert "INVALID_ARGUMENT request: no message" in await status_of(asked)
            assert not triton.seen

    run(work())


def test_those_who_watch_the_health_leave_room_for_calls_and_for_each_other(tmp_path: Path) -> None:
    """They show no key: what one host may have is bounded, and is none of the callers' room."""

    async def work() -> None:
        limits = Limits(calls=2, calls_per_client=2, probes=4, probes_per_host=3)
        async with (
            served(tmp_path, keys=with_keys(tmp_path, "one"), limits=limits) as (door, _, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            asking = [channel.unary_stream(HEALTH + "Watch")(b"") for _ in range(3)]
            assert [await watch.read() for watch in asking] == [SERVING] * 3
            assert "RESOURCE_EXHAUSTED request: too many ask" in await status_of(half_sent(channel, HEALTH + "Check"))
            assert await call(address, GOOD, metadata=[("authorization", "Bearer one")])
            asking[0].cancel()
            await until(lambda: _asks(door, 2))
            assert await call(address, b"", HEALTH + "Check") == SERVING

    run(work())


async def _asks(door: Any, probes: int) -> bool:
    return bool(door.health._asking.total() == probes)


class Turned(Exception):  # noqa: N818 - what `abort` raises
    pass


class From:
    """The context of a call from an address."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def peer(self) -> str:
        return self._peer

    async def abort(self, status: grpc.StatusCode, line: str) -> None:
        raise Turned(f"{status.name} {line}")


async def messages(*content: bytes) -> AsyncIterator[bytes]:
    for message in content:
        yield message


@pytest.mark.parametrize(
    ("busy", "other"), [("ipv4:10.0.0.1:{}", "ipv4:10.0.0.2:1"), ("ipv6:[fd00::1]:{}", "ipv6:[fd00::2]:1")]
)
def test_a_host_with_many_questions_leaves_room_for_another(busy: str, other: str) -> None:
    async def work() -> None:
        health = Health(Limits(probes=4, probes_per_host=2))
        asked = [health.watch(messages(b""), From(busy.format(port))) for port in (1, 2)]
        assert [await anext(watch) for watch in asked] == [NOT_SERVING] * 2
        with pytest.raises(Turned, match="RESOURCE_EXHAUSTED request: too many ask"):
            await health.check(messages(b""), From(busy.format(3)))
        assert await health.check(messages(b""), From(other)) == NOT_SERVING
        for watch in asked:
            await watch.aclose()  # type: ignore[attr-defined]
        assert await health.check(messages(b""), From(busy.format(3))) == NOT_SERVING

    run(work())
