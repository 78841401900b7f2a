"""The asyncio client: that it does what the blocking one does, and what only it does."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

import grpc
import pytest
from fake_vico_server import DIGEST, Call, FakeServer, pictures
from vico_client import (
    AsyncClient,
    Client,
    ConceptNotFound,
    DeadlineExceeded,
    GenerateRequest,
    InvalidRequest,
    Retry,
    Unavailable,
    VicoClientError,
    VicoWarning,
)


def _slow(call: Call) -> Any:
    time.sleep(0.5)
    return pictures(call)


def test_both_clients_have_the_same_methods_and_parameters() -> None:
    alike = ["__init__", "generate", "generate_result", "send", "concepts", "ready", "acting_for", "close"]
    names = [*alike, "submit", "stream", "address", "timeout"]
    for name in alike:
        assert inspect.signature(getattr(AsyncClient, name)) == inspect.signature(getattr(Client, name))
    for client in (AsyncClient, Client):
        names_of = list(inspect.signature(client.submit).parameters)
        assert names_of == list(inspect.signature(Client.generate).parameters)
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert public == {name for name in vars(AsyncClient) if not name.startswith("_")} == set(names[1:])


def test_generate_and_result(server: FakeServer) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            images = await client.generate("a photo of *", concept="my-toy", num_images=2, output_format="raw")
            assert [image.size for image in images] == [(16, 24)] * 2
            result = await client.generate_result("a photo of *", concept="my-toy", seed=3, timeout=4)
            assert (result.info.seed, result.info.concept_digest) == (3, DIGEST)
            request = GenerateRequest("a toy", request_id="again")
            assert (await client.send(request)).request_id == (await client.send(request)).request_id == "again"

    asyncio.run(main())
    assert 3_000_000 < server.calls[1].timeout_microseconds <= 4_000_000
    assert [call.request_id for call in server.calls[2:]] == ["again", "again"]


def test_requests_run_at_the_same_time_on_one_connection(server: FakeServer) -> None:
    server.answer = _slow

    async def main() -> list[int]:
        async with AsyncClient(server.address) as client:
            results = await asyncio.gather(*(client.generate_result("a toy", seed=seed) for seed in range(6)))
        return [result.info.seed for result in results]

    begun = time.monotonic()
    assert asyncio.run(main()) == list(range(6))
    assert time.monotonic() - begun < 2


def test_a_client_made_outside_the_loop_works_inside(server: FakeServer) -> None:
    client = AsyncClient(server.address)

    async def main() -> int:
        async with client:
            return len(await client.generate("a toy"))

    assert asyncio.run(main()) == 1


def test_errors_are_the_same(server: FakeServer) -> None:
    server.refuse(grpc.StatusCode.NOT_FOUND, "in ensemble 'vico', concept: gone; accepted: a concept in the registry")

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(ConceptNotFound, match="gone") as caught:
                await client.generate("a photo of *", concept="my-toy", request_id="r5")
            assert (caught.value.field, caught.value.request_id) == ("concept", "r5")
            with pytest.raises(InvalidRequest, match="guidance_scale"):
                await client.generate("a toy", guidance_scale=float("nan"))
        with pytest.raises(VicoClientError, match="closed"):
            await client.generate("a toy")

    asyncio.run(main())


def test_deadline_and_nobody_there(server: FakeServer) -> None:
    server.answer = _slow

    async def main() -> None:
        async with AsyncClient(server.address, timeout=0.1) as client:
            with pytest.raises(DeadlineExceeded):
                await client.generate("a toy")
            assert await client.ready()
        async with AsyncClient("localhost:1", retry=Retry(attempts=1)) as nobody:
            with pytest.raises(Unavailable):
                await nobody.generate("a toy")
            assert not await nobody.ready(timeout=2)

    asyncio.run(main())


def test_warnings_point_at_the_caller(server: FakeServer) -> None:
    server.answer = lambda call: pictures(call, warnings=[{"code": "prompt_truncated", "message": "too long"}])

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await client.generate("a very long prompt")

    with pytest.warns(VicoWarning, match="too long") as caught:
        asyncio.run(main())
    assert caught[0].filename == __file__


def test_cancelling_the_task_cancels_the_call(server: FakeServer) -> None:
    server.answer = _slow

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(client.generate("a toy"))
            assert await asyncio.to_thread(server.entered.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_closing_cancels_calls_under_way(server: FakeServer) -> None:
    server.answer = _slow

    async def main() -> None:
        client = AsyncClient(server.address)
        task = asyncio.create_task(client.generate("a toy"))
        assert await asyncio.to_thread(server.entered.wait, 5)
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
