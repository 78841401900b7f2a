"""Giving a request up: by its handle, by its task, while it waits; what the server and the caller see of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, as_completed, wait
from typing import Any

import grpc
import pytest
from fake_vico_server import Call, FakeServer, pictures
from vico_client import AsyncClient, Cancelled, Client, InvalidRequest, Retry


@pytest.fixture
def stuck(server: FakeServer) -> Iterator[FakeServer]:
    """A server whose answers come when the test is over."""
    release = threading.Event()

    def answer(call: Call) -> Any:
        release.wait(60)
        return pictures(call)

    server.answer = answer
    yield server
    release.set()


def test_submit_is_a_future(client: Client, server: FakeServer) -> None:
    submitted = [client.submit("a toy", seed=seed) for seed in range(5)]
    assert {done.result().info.seed for done in as_completed(submitted, timeout=30)} == set(range(5))
    assert {pending.request_id for pending in submitted} == {call.request_id for call in server.calls}
    assert not submitted[0].cancel()
    assert submitted[0].result().request_id == submitted[0].request_id


def test_submit_raises_what_generate_would(client: Client, server: FakeServer) -> None:
    server.refuse(grpc.StatusCode.INVALID_ARGUMENT, "steps: 0; accepted: 1 to 100")
    with pytest.raises(InvalidRequest, match="steps"):
        client.submit("a toy").result(30)
    with pytest.raises(InvalidRequest, match="timeout"):
        client.submit("a toy", timeout=-1)


def test_cancel_ends_the_request_here_and_there(client: Client, stuck: FakeServer) -> None:
    pending = client.submit("a toy", request_id="r4")
    assert stuck.entered.wait(30)
    assert pending.cancel()
    with pytest.raises(Cancelled) as caught:
        pending.result(30)
    assert caught.value.request_id == "r4"
    assert stuck.cancelled.wait(30)
    assert pending.done()


def test_cancel_before_anything_was_sent(server: FakeServer) -> None:
    with Client(server.address) as client:
        pending = client.submit("a toy")
        pending.cancel()
        assert wait([pending], 30, FIRST_COMPLETED).done
        assert pending.done()


def test_cancel_ends_a_pause(server: FakeServer) -> None:
    server.refuse(grpc.StatusCode.UNAVAILABLE, "request: starting; accepted: the same request later")
    with Client(server.address, timeout=7200, retry=Retry(None, 3600, 3600)) as client:
        pending = client.submit("a toy")
        assert server.entered.wait(30)
        pending.cancel()
        with pytest.raises(Cancelled):
            pending.result(30)
    assert len(server.calls) == 1


def test_others_go_on(client: Client, server: FakeServer) -> None:
    release = threading.Event()

    def answer(call: Call) -> Any:
        release.wait(60)
        return pictures(call)

    server.answer = answer
    given_up, wanted = client.submit("a toy", seed=1), client.submit("a toy", seed=2)
    assert server.entered.wait(30)
    given_up.cancel()
    assert type(given_up.exception(30)) is Cancelled
    release.set()
    assert wanted.result(30).info.seed == 2


def test_a_cancelled_task_ends_the_request_there_too(stuck: FakeServer) -> None:
    async def main() -> None:
        async with AsyncClient(stuck.address) as client:
            task = client.submit("a toy")
            assert await asyncio.to_thread(stuck.entered.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(stuck.cancelled.wait, 30)

    asyncio.run(main())
