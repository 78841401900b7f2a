"""The API key: shown with every call, taken from the environment if not given, and what its lack is called."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from fake_vico_server import FakeServer
from vico_client import AsyncClient, Client, InvalidRequest, NotAllowed


@pytest.mark.parametrize(
    ("given", "variable", "shown"),
    [(None, None, None), ("one", None, "Bearer one"), (None, "two", "Bearer two"), ("one", "two", "Bearer one"),
     ("", "two", None)],
)  # fmt: skip
def test_both_clients_show_it_with_every_call(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, given: str | None, variable: str | None, shown: str | None
) -> None:
    monkeypatch.delenv("VICO_API_KEY", raising=False)
    if variable is not None:
        monkeypatch.setenv("VICO_API_KEY", variable)
    with Client(server.address, api_key=given) as client:
        assert client.ready()
        client.generate("a")

    async def both() -> None:
        async with AsyncClient(server.address, api_key=given) as client:
            assert await client.ready()
            await client.generate("a")

    asyncio.run(both())
    assert server.keys == [shown] * 4


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_without_a_good_one_nothing_is_allowed(server: FakeServer, status: grpc.StatusCode) -> None:
    server.refuse(status, "authorization: no valid API key; accepted: one header `authorization: Bearer <key>`")
    with Client(server.address) as client, pytest.raises(NotAllowed) as caught:
        client.generate("a")
    assert (caught.value.field, caught.value.problem) == ("authorization", "no valid API key")
    assert caught.value.status == status.name


@pytest.mark.parametrize("key", ["a b", "a\nb", "schlüssel"])
def test_what_cannot_be_a_key_is_refused_before_it_is_sent(key: str) -> None:
    with pytest.raises(InvalidRequest, match="api_key: not an API key") as caught:
        Client(api_key=key)
    assert key not in str(caught.value)
