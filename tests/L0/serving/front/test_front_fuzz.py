"""A thousand mutated requests at the door, before a Triton that must not see any that is not clean."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from fake_triton import INPUTS, request_of, run, served, text
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from serving.front.wire import SERVICE

LEAKS = re.compile(r"/[a-z]+/|Traceback|\.py|0x[0-9a-f]{6}|numpy|grpc\.|protobuf|unet_loop|secret|sealed")
EXAMPLES = 1000

names = st.one_of(st.sampled_from([*INPUTS, "caller"]), st.text(max_size=20))
contents = st.one_of(st.binary(max_size=40), st.binary(max_size=20).map(text), st.just(b"\xff" * 4))
shapes = st.lists(st.integers(-(2**63), 2**63 - 1) | st.just(1), max_size=3)


@st.composite
def structured(draw: st.DrawFn) -> bytes:
    """A whole protobuf with fields of any kind."""
    request = pb.ModelInferRequest(
        model_name=draw(st.sampled_from(["vico", "vico", "vico", "unet_loop", "", "vico/1"])),
        id=draw(st.text(max_size=70)),
    )
    for _ in range(draw(st.integers(0, 4))):
        datatypes = st.sampled_from(["BYTES", "INT32", "INT64", "FP32", "BOOL", "", "FP16"])
        tensor = request.inputs.add(name=draw(names), datatype=draw(datatypes), shape=draw(shapes))
        if draw(st.integers(0, 4)) == 0:
            tensor.parameters[draw(st.text(max_size=10))].string_param = draw(st.text(max_size=10))
        if draw(st.integers(0, 3)) == 0:
            tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=9), max_size=2)))
            tensor.contents.int_contents.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=2)))
    request.raw_input_contents.extend(draw(st.lists(contents, max_size=4)))
    if draw(st.integers(0, 3)) == 0:
        request.parameters[draw(st.sampled_from(["timeout", "priority", "x"]))].int64_param = draw(
            st.integers(-(2**63), 2**63 - 1)
        )
    if draw(st.integers(0, 3)) == 0:
        request.outputs.add(name=draw(names))
    content: bytes = request.SerializeToString()
    return content


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good request with bytes changed, cut out or put in."""
    message = bytearray(request_of(prompt=text(b"a dog"), steps=b"\3\0\0\0").SerializeToString())
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(message) - 1))
        message[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
        message = message or bytearray(b"\0")
    return bytes(message)


def require_clean(request: Any) -> None:
    """What Triton may see."""
    assert request.model_name == "vico"
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", request.id)
    assert set(request.parameters) <= {"timeout", "triton_enable_empty_final_response"}
    assert [tensor.name for tensor in request.inputs].count("caller") == 1
    assert len(request.raw_input_contents) == len(request.inputs)
    for tensor in request.inputs:
        assert tensor.datatype == INPUTS[tensor.name]
        assert list(tensor.shape) == [1]
        assert not tensor.parameters
        assert not tensor.HasField("contents")


async def outcome(ask: Any, message: bytes) -> tuple[str, str]:
    """Status and words."""
    try:
        await ask(message, timeout=60)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def test_a_thousand_mutated_requests(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    async def work() -> None:
        async with served(tmp_path) as (door, triton, address), grpc.aio.insecure_channel(address) as channel:
            ask = channel.unary_unary(SERVICE + "ModelInfer")

            async def one(message: bytes) -> None:
                status, words = await outcome(ask, message)
                seen[status] += 1
                assert status in {"OK", "INVALID_ARGUMENT", "PERMISSION_DENIED"}, (status, words)
                assert re.fullmatch(r"|[a-z_]+: [^\n]*; accepted: [^\n]*", words)
                assert not LEAKS.search(words), words
                while triton.seen:
                    require_clean(triton.seen.pop())

            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, hypothesis_run, loop, one)
            assert door.gate.inside == 0
            assert await ask(request_of(prompt=text(b"a")).SerializeToString(), timeout=60)

    asyncio.run(work())
    print(dict(seen))
    assert seen.total() >= EXAMPLES
    assert len(seen) == 3, "answers, and refusals of both kinds"


def hypothesis_run(loop: asyncio.AbstractEventLoop, one: Any) -> None:
    """Hypothesis calls from a thread; the work is the loop's."""

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None,
              phases=[Phase.generate])  # fmt: skip
    @given(st.one_of(structured(), damaged()))
    def test(message: bytes) -> None:
        asyncio.run_coroutine_threadsafe(one(message), loop).result(120)

    test()


def test_the_good_request_passes(tmp_path: Path) -> None:
    async def work() -> None:
        async with served(tmp_path) as (_, triton, address), grpc.aio.insecure_channel(address) as channel:
            message = request_of(prompt=text(b"a dog"), steps=b"\3\0\0\0").SerializeToString()
            await channel.unary_unary(SERVICE + "ModelInfer")(message, timeout=60)
            require_clean(triton.seen[0])

    run(work())
