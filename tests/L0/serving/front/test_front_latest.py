"""A client that reads slowly gets every picture, and of progress only the latest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fake_triton import run, text
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from serving.front.latest import is_progress, latest


def answer(kind: str, number: int) -> bytes:
    response = pb.ModelInferResponse(model_name="vico_stream", id=str(number))
    response.outputs.add(name="event", datatype="BYTES", shape=[1])
    response.raw_output_contents.append(text(json.dumps({"type": kind}).encode()))
    content: bytes = pb.ModelStreamInferResponse(infer_response=response).SerializeToString()
    return content


def kind_and_number(content: bytes) -> tuple[str, int]:
    response = pb.ModelStreamInferResponse.FromString(content).infer_response
    return json.loads(response.raw_output_contents[0][4:])["type"], int(response.id)


async def source(answers: list[bytes], read: asyncio.Event | None = None) -> AsyncGenerator[bytes, None]:
    for content in answers:
        yield content
        await asyncio.sleep(0)
    if read is not None:
        read.set()


def test_what_is_progress() -> None:
    assert is_progress(answer("progress", 1))
    assert not is_progress(answer("image", 1))
    assert not is_progress(pb.ModelStreamInferResponse(error_message="x").SerializeToString())
    bare = pb.ModelInferResponse(model_name="vico", id="1")
    bare.outputs.add(name="images", datatype="BYTES", shape=[1])
    assert not is_progress(pb.ModelStreamInferResponse(infer_response=bare).SerializeToString())


@given(st.lists(st.sampled_from(["progress", "image", "end"]), max_size=30), st.integers(0, 30))
@settings(deadline=None)
def test_only_progress_is_dropped_and_only_for_later_progress(kinds: list[str], pauses: int) -> None:
    answers = [answer(kind, number) for number, kind in enumerate(kinds)]

    async def work() -> list[tuple[str, int]]:
        got = []
        async for content in latest(source(answers)):
            got.append(kind_and_number(content))
            for _ in range(pauses):
                await asyncio.sleep(0)
        return got

    got = run(work())
    numbers = [number for _, number in got]
    assert numbers == sorted(set(numbers))
    lost = [number for number in range(len(kinds)) if number not in numbers]
    assert all(kinds[number] == "progress" for number in lost)
    # what was dropped made way for later progress, with nothing but progress between
    assert all(kinds[number + 1] == "progress" for number in lost)


def test_a_reader_that_stands_still_leaves_one_report_waiting() -> None:
    answers = [answer("progress", number) for number in range(500)] + [answer("image", 500), answer("end", 501)]

    async def work() -> list[int]:
        read = asyncio.Event()
        stream = latest(source(answers, read))
        first = kind_and_number(await anext(stream))[1]
        await asyncio.wait_for(read.wait(), 60)
        return [first] + [kind_and_number(content)[1] for content in [item async for item in stream]]

    assert run(work()) == [0, 499, 500, 501]


def test_an_error_comes_after_what_was_before_it() -> None:
    async def breaks() -> AsyncGenerator[bytes, None]:
        yield answer("progress", 0)
        yield answer("image", 1)
        raise RuntimeError("broken")

    async def work() -> list[int]:
        stream = latest(breaks())
        got = [kind_and_number(await anext(stream))[1] for _ in range(2)]
        with pytest.raises(RuntimeError, match="broken"):
            await anext(stream)
        return got

    assert run(work()) == [0, 1]


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_whoever_leaves_ends_the_source(how: str) -> None:
    ended: list[Any] = []

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield answer("progress", 0)
                await asyncio.sleep(0.001)
        except BaseException as error:
            ended.append(type(error))
            raise

    async def reads() -> None:
        async for _ in latest(endless()):
            pass

    async def work() -> None:
        if how == "closed":
            stream = latest(endless())
            await anext(stream)
            await stream.aclose()
        else:
            task = asyncio.create_task(reads())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(ended) == 1

    run(work())
