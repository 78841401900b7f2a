"""What the door refuses of a unary call it refuses of a stream too: the other way to the same pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_triton import SEAL, FakeTriton, request_of, run, served, text
from test_front_check import BAD
from test_front_check import GOOD as FIELDS
from tritonclient.grpc import service_pb2 as pb

from serving.caller import TENSOR, Caller, caller_of
from serving.front.config import Limits
from serving.front.keys import Key, hashed, write_keys
from serving.front.wire import SERVICE
from serving.stages.stage import bytes_tensor

GOOD = request_of(prompt=text(b"a dog")).SerializeToString()
METHOD = SERVICE + "ModelStreamInfer"


def opened(channel: Any, key: str = "") -> Any:
    return channel.stream_stream(METHOD)(metadata=[("authorization", f"Bearer {key}")] if key else None)


@asynccontextmanager
async def reached(folder: Path, keys: Path) -> AsyncIterator[tuple[FakeTriton, Any]]:
    """What is behind a door with these keys, and a connection to it."""
    async with (
        served(folder, keys=str(keys)) as (_, triton, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield triton, channel


async def refused(stream: Any, message: bytes) -> tuple[str, str]:
    """Status and words for one request of a stream."""
    await stream.write(message)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(stream.read(), 60)
    return caught.value.code().name, caught.value.details() or ""


async def answered(stream: Any) -> bool:
    await stream.write(GOOD)
    answers = [pb.ModelStreamInferResponse.FromString(await asyncio.wait_for(stream.read(), 60)) for _ in range(2)]
    return bool(answers[0].infer_response.id)


def test_every_bad_request_is_refused_in_the_same_words(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path) as (_, triton, address), grpc.aio.insecure_channel(address) as channel:
            for case, (change, words) in BAD.items():
                request = request_of(**FIELDS)
                change(request)
                status, line = await refused(opened(channel), request.SerializeToString())
                assert (status, words.partition(";")[0] in line) == (
                    "PERMISSION_DENIED" if "model: " in words else "INVALID_ARGUMENT", True,
                ), (case, status, line)  # fmt: skip
            assert not triton.seen

    run(work())


def test_a_message_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    async def work() -> None:
        limits = Limits(message_bytes=4096)
        async with (
            served(tmp_path, limits=limits) as (_, triton, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            long = request_of(prompt=text(b"a" * 5000)).SerializeToString()
            assert (await refused(opened(channel), long))[0] == "RESOURCE_EXHAUSTED"
            assert not triton.seen

    run(work())


def test_a_revoked_key_ends_a_stream_that_is_open(tmp_path: Path) -> None:
    """A stream may last for days; its next request is a call like any other."""
    keys = tmp_path / "keys.json"
    other = Key(client="other", tenant="other", sha256=hashed("two"))
    write_keys(keys, [Key(client="shop", tenant="acme", sha256=hashed("one")), other])

    async def work() -> None:
        async with reached(tmp_path, keys) as (triton, channel):
            stream = opened(channel, "one")
            assert await answered(stream)
            write_keys(keys, [other])
            assert (await refused(stream, GOOD))[0] == "UNAUTHENTICATED"
            assert len(triton.seen) == 1
            assert await answered(opened(channel, "two"))

    run(work())


def test_a_stream_has_the_rights_that_its_key_has_now(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    write_keys(keys, [Key(client="shop", tenant="acme", sha256=hashed("one"))])

    async def work() -> None:
        async with reached(tmp_path, keys) as (triton, channel):
            stream = opened(channel, "one")
            assert await answered(stream)
            rights = {"tenant": "other", "concepts": ("hen",), "requests_per_minute": 1}
            write_keys(keys, [Key(client="shop", sha256=hashed("one"), **rights)])  # type: ignore[arg-type]
            assert await answered(stream)
            callers = [sealed_caller(request) for request in triton.seen]
            assert [(caller.tenant, caller.concepts) for caller in callers] == [("acme", ("*",)), ("other", ("hen",))]
            assert "too many in the last minute" in (await refused(stream, GOOD))[1]

    run(work())


def sealed_caller(request: Any) -> Caller:
    """Who the door says is asking."""
    [place] = [i for i, tensor in enumerate(request.inputs) if tensor.name == TENSOR]
    return caller_of({TENSOR: bytes_tensor([request.raw_input_contents[place][4:]])}, SEAL)


def test_a_rate_counts_requests_and_not_streams(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    write_keys(keys, [Key(client="shop", tenant="acme", sha256=hashed("one"), requests_per_minute=1)])

    async def work() -> None:
        async with reached(tmp_path, keys) as (triton, channel):
            stream = opened(channel, "one")
            assert await answered(stream)
            status, words = await refused(stream, GOOD)
            assert (status, "too many in the last minute" in words) == ("RESOURCE_EXHAUSTED", True)
            assert len(triton.seen) == 1

    run(work())


def test_silent_streams_of_one_client_leave_room_for_others(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    names = {"one": "shop", "two": "other"}
    write_keys(keys, [Key(client=name, tenant=name, sha256=hashed(key)) for key, name in names.items()])

    async def work() -> None:
        limits = Limits(calls_per_client=2)
        async with (
            served(tmp_path, keys=str(keys), limits=limits) as (_, _triton, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            silent = [opened(channel, "one") for _ in range(2)]
            for stream in silent:
                assert await answered(stream), "and silent from now on"
            third = opened(channel, "one")
            with pytest.raises(grpc.aio.AioRpcError, match="2 of this client are under way"):
                await asyncio.wait_for(third.read(), 60)
            assert await answered(opened(channel, "two"))
            silent[0].cancel()
            async with asyncio.timeout(60):
                while not await _lets_in(channel):
                    await asyncio.sleep(0.05)

    run(work())


async def _lets_in(channel: Any) -> bool:
    try:
        return await answered(opened(channel, "one"))
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
