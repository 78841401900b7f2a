"""One client, several keys: `acting_for` shows another one over the same connections."""

from __future__ import annotations

import asyncio

import pytest
from fake_vico_server import FakeServer
from vico_client import AsyncClient, Client, InvalidRequest, VicoWarning
from vico_client.settings import USER_HEADER, make_settings


def test_each_call_shows_its_own_key_and_user(server: FakeServer) -> None:
    with Client(server.address, api_key="own") as client:
        client.acting_for("other", "ann").generate("a toy")
        client.acting_for(None, "bob").generate("a toy")
        client.acting_for("other", "ann").concepts()
        client.generate("a toy")
    assert server.keys == ["Bearer other", None, "Bearer other", "Bearer own"]
    users = [call.metadata.get(USER_HEADER) for call in server.calls]
    assert users[2] is None
    assert len({users[0], users[1]}) == 2
    assert "ann" not in str(users[0])


def test_the_asyncio_client_does_the_same(server: FakeServer) -> None:
    async def main() -> None:
        async with AsyncClient(server.address, api_key="own") as client:
            await client.acting_for("other", "ann").generate("a toy")
            async with client.acting_for("third").stream("a toy") as stream:
                assert [event async for event in stream]
            await client.generate("a toy")

    asyncio.run(main())
    assert server.keys == ["Bearer other", "Bearer third", "Bearer own"]


def test_a_key_is_a_key_and_travels_encrypted() -> None:
    settings = make_settings("pictures.example.com:443", environment={})
    with pytest.raises(InvalidRequest, match="api_key"):
        settings.acting_for("two words", None)
    with pytest.warns(VicoWarning, match="unencrypted"):
        settings.acting_for("key", None)
