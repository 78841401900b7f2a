"""`stream` of the SDK against the real server."""

from __future__ import annotations

import asyncio

import pytest
from served import Loop, Served, wait_until
from vico_client import AsyncClient, Client, ConceptNotFound, Picture, Preview, Progress


def test_a_stream_of_the_sdk_brings_the_pictures_of_a_plain_call(server: Served) -> None:
    with Client(server.address) as client:
        alone = client.generate_result("a dog", steps=8, num_images=2, seed=3)
        with client.stream("a dog", steps=8, num_images=2, seed=3, progress_every=2) as stream:
            events = list(stream)
    files = [bytes(event.file) for event in events if isinstance(event, Picture)]
    assert files == [bytes(file) for file in alone.files]
    reports = [event for event in events if isinstance(event, Progress)]
    assert reports
    assert all(report.steps == 8 and report.step % 2 == 0 and 0 < report.fraction <= 1 for report in reports)
    assert {event.image.size for event in events if isinstance(event, Preview)} == {(64, 64)}
    assert stream.info is not None
    assert stream.info.seed == 3


def test_an_asyncio_stream_that_is_cancelled_frees_its_lanes(server: Served) -> None:
    loop = Loop(server)
    assert wait_until(lambda: loop.pictures() == 0, 120)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            async with client.stream("a dog", steps=100, num_images=2) as stream:
                async for event in stream:
                    assert isinstance(event, Progress)
                    break
            assert await asyncio.to_thread(wait_until, lambda: loop.pictures() == 0, 60)
            with pytest.raises(ConceptNotFound, match="no concept 'nobody'"):
                await client.stream("a *", concept="nobody").__anext__()

    asyncio.run(main())
