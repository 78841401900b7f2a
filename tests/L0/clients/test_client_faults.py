"""What goes wrong between a client and a server, each with its exact exception."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from fake_vico_server import Call, FakeServer, pictures, running
from tritonclient.grpc import service_pb2_grpc
from vico_client import AsyncClient, Client, DeadlineExceeded, InvalidRequest, Retry, Unavailable

PATIENT = Retry(None, 0.05, 0.2)


def _serve_again(fake: FakeServer) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(fake, server)
    assert server.add_insecure_port(fake.address.replace("localhost", "127.0.0.1"))
    server.start()
    return server


def test_a_server_restarted_mid_request_answers_the_same_request() -> None:
    with running() as (fake, first):
        release = threading.Event()

        def answer(call: Call) -> Any:
            release.wait(60)
            return pictures(call)

        fake.answer = answer
        with Client(fake.address, retry=PATIENT, timeout=60) as client:
            pending = client.submit("a toy", request_id="r9")
            assert fake.entered.wait(30)
            first.stop(grace=None)
            release.set()
            first.wait_for_termination(30)
            second = _serve_again(fake)
            try:
                result = pending.result(60)
            finally:
                second.stop(grace=None).wait()
    assert [call.request_id for call in fake.calls] == ["r9", "r9"]
    assert fake.calls[0].fields == fake.calls[1].fields
    assert result.info.seed == fake.calls[0].fields["seed"]


def test_without_patience_a_restart_is_unavailable() -> None:
    with running() as (fake, server):
        release = threading.Event()
        fake.answer = lambda call: (release.wait(60), pictures(call))[1]
        with Client(fake.address, retry=Retry(attempts=1)) as client:
            pending = client.submit("a toy")
            assert fake.entered.wait(30)
            server.stop(grace=None)
            with pytest.raises(Unavailable):
                pending.result(60)
            release.set()


def test_a_slow_server_is_a_deadline(server: FakeServer) -> None:
    release = threading.Event()
    server.answer = lambda call: (release.wait(60), pictures(call))[1]
    with Client(server.address, retry=PATIENT) as client, pytest.raises(DeadlineExceeded) as caught:
        client.generate("a toy", timeout=0.5)
    assert caught.value.status == "DEADLINE_EXCEEDED"
    assert len(server.calls) == 1

    async def main() -> None:
        async with AsyncClient(server.address, retry=PATIENT) as client:
            with pytest.raises(DeadlineExceeded):
                await client.generate("a toy", timeout=0.5)

    asyncio.run(main())
    release.set()


def test_an_oversized_message_is_an_invalid_request_and_sent_once(server: FakeServer) -> None:
    server.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (10485800 vs. 9437184)")
    with Client(server.address, retry=PATIENT) as client, pytest.raises(InvalidRequest) as caught:
        client.generate("a photo of *", concept="my-toy", reference_image=b"large")
    assert (caught.value.field, caught.value.status) == ("request", "RESOURCE_EXHAUSTED")
    assert "9437184 bytes" in str(caught.value.hint)
    assert len(server.calls) == 1
