"""Deadlines, servers that are gone, readiness, closing, TLS: for the blocking client."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from fake_vico_server import Call, FakeServer, pictures, running
from vico_client import Cancelled, Client, DeadlineExceeded, InvalidRequest, Retry, Unavailable, VicoClientError

NOBODY = "localhost:1"
ONCE = Retry(attempts=1)


def _slow(call: Call) -> Any:
    time.sleep(1)
    return pictures(call)


def test_a_deadline_of_the_call_ends_it(client: Client, server: FakeServer) -> None:
    server.answer = _slow
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="longer timeout") as caught:
        client.generate("a toy", timeout=0.2)
    assert time.monotonic() - begun < 0.9
    assert caught.value.status == "DEADLINE_EXCEEDED"


def test_the_clients_deadline_is_the_default(server: FakeServer) -> None:
    server.answer = _slow
    with Client(server.address, timeout=0.2) as client, pytest.raises(DeadlineExceeded):
        client.generate("a toy")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "10", True])
def test_a_deadline_is_a_positive_number_of_seconds(client: Client, server: FakeServer, timeout: Any) -> None:
    with pytest.raises(InvalidRequest, match="timeout"):
        client.generate("a toy", timeout=timeout)
    with pytest.raises(InvalidRequest, match="timeout"):
        Client(server.address, timeout=timeout)
    assert not server.calls


def test_nobody_at_the_address() -> None:
    with Client(NOBODY, retry=ONCE) as client, pytest.raises(Unavailable, match=NOBODY) as caught:
        client.generate("a toy")
    assert caught.value.status == "UNAVAILABLE"


def test_a_server_that_goes_away_in_the_middle() -> None:
    with running() as (fake, grpc_server), Client(fake.address, retry=ONCE) as client, ThreadPoolExecutor() as pool:
        fake.answer = _slow
        pending = pool.submit(client.generate, "a toy")
        assert fake.entered.wait(5)
        grpc_server.stop(grace=None)
        with pytest.raises(Unavailable):
            pending.result()


def test_a_client_outlives_a_refusal(client: Client, server: FakeServer) -> None:
    server.refuse(grpc.StatusCode.INTERNAL, "request: failed; accepted: try again")
    with pytest.raises(VicoClientError):
        client.generate("a toy")
    server.answer = pictures
    assert len(client.generate("a toy")) == 1


def test_ready(client: Client, server: FakeServer) -> None:
    assert client.ready()
    server.ready = False
    assert not client.ready()
    with Client(NOBODY) as nobody:
        assert not nobody.ready(timeout=2)


def test_many_threads_share_a_client(client: Client, server: FakeServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda seed: client.generate_result("a toy", seed=seed), range(40)))
    assert [result.info.seed for result in results] == list(range(40))
    assert len({call.request_id for call in server.calls}) == 40


def test_a_closed_client_says_so(server: FakeServer) -> None:
    client = Client(server.address)
    client.close()
    client.close()
    for call in (lambda: client.generate("a toy"), client.ready):
        with pytest.raises(VicoClientError, match="closed"):
            call()


def test_closing_ends_calls_under_way(server: FakeServer) -> None:
    release = threading.Event()

    def answer(call: Call) -> Any:
        release.wait(5)
        return pictures(call)

    server.answer = answer
    client = Client(server.address)
    with ThreadPoolExecutor() as pool:
        pending = pool.submit(client.generate, "a toy")
        assert server.entered.wait(5)
        client.close()
        with pytest.raises(Cancelled):
            pending.result(5)
    release.set()


@pytest.mark.parametrize("address", ["", "http://localhost:8000", "https://localhost:8001", "grpc://localhost:8001"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(InvalidRequest, match="host:port"):
        Client(address)
