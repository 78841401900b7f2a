"""Streams while parts of the real server die: all hear that they may ask again, and nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from served import Answer, Caller, Loop, Served, own_server, start_server, wait_until
from streamed import Event, Stream, stream

if TYPE_CHECKING:
    from conftest import Exported

LATER = "accepted: the same request later"
SHORT: dict[str, Any] = {"prompt": "a", "steps": 6, "seed": 1}
LONG: dict[str, Any] = {"prompt": "a dog", "steps": 100, "num_images": 2}


@pytest.fixture(scope="module")
def broken(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of this module's own."""
    with own_server(exported.folder, tmp_path_factory.mktemp("broken")) as served:
        yield served


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def under_way(served: Served, pool: ThreadPoolExecutor) -> Future[list[Event]]:
    """A stream that has shown its first progress; what it brings in the end."""
    # without a timeout: a server that has just started may forecast far too much
    asked = Stream(served.address, timeout=None, **LONG)
    events = iter(asked)
    first = next(events)
    assert first.kind == "progress"
    return pool.submit(lambda: [first, *events])


def images(events: list[Event]) -> list[bytes]:
    return [image for event in events for image in event.images]


def heard(asked: Future[list[Event]]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        asked.result(180)
    return caught.value.code().name, caught.value.details()


def serves_streams(served: Served, expected: list[bytes]) -> bool:
    try:
        return images(stream(served.address, **SHORT)) == expected
    except grpc.RpcError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_dead_streaming_stage_costs_streams_only(
    broken: Served, pool: ThreadPoolExecutor, number: signal.Signals
) -> None:
    caller = Caller(broken.address)
    expected, alone = caller(**SHORT).images, caller(prompt="a cat", steps=100, seed=2).images
    assert wait_until(lambda: serves_streams(broken, expected), 240), broken.log()
    triton, pid, loop = broken.triton(), broken.stages()["picture_stream"], Loop(broken)
    asked = [under_way(broken, pool) for _ in range(2)]
    beside = pool.submit(Caller(broken.address).ask, prompt="a cat", steps=100, seed=2)
    assert wait_until(lambda: loop.pictures() == 5, 60)
    os.kill(pid, number)
    for one in asked:
        status, line = heard(one)
        assert status == "UNAVAILABLE"
        assert line.endswith(LATER)
    assert wait_until(lambda: loop.pictures() <= 1, 60), "their lanes are free"
    answer = beside.result(180)
    assert isinstance(answer, Answer), answer
    assert len(answer.images) == len(alone)
    assert wait_until(lambda: serves_streams(broken, expected), 240), broken.log()
    assert broken.stages()["picture_stream"] != pid
    assert broken.triton() == triton, "the server went on"


@pytest.mark.parametrize("stage", ["unet_loop", "vae_decoder"])
def test_streams_hear_of_a_dead_stage_that_they_call(broken: Served, pool: ThreadPoolExecutor, stage: str) -> None:
    expected = Caller(broken.address)(**SHORT).images
    assert wait_until(lambda: serves_streams(broken, expected), 240), broken.log()
    asked = under_way(broken, pool)
    os.kill(broken.stages()[stage], signal.SIGKILL)
    status, line = heard(asked)
    assert status == "UNAVAILABLE"
    assert line.endswith(LATER)
    assert wait_until(lambda: serves_streams(broken, expected), 300), broken.log()


def test_a_stream_under_way_is_finished_when_the_server_is_told_to_stop(
    exported: Exported, tmp_path: Any, pool: ThreadPoolExecutor
) -> None:
    (tmp_path / "registry").mkdir()
    served = start_server(exported.folder, tmp_path / "registry", tmp_path / "log", "--grace", "240")
    try:
        asked = under_way(served, pool)
    finally:
        status = served.stop()
    assert status == 0, served.log()
    events = asked.result(60)
    assert events[-1].kind == "end"
    assert len(images(events)) == 2
