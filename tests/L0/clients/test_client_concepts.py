"""`concepts()`: what it asks, what it makes of answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fake_vico_server import DIGEST, FakeServer
from vico_client import AsyncClient, Client, Concept, InvalidRequest, ServerError

ANSWER = {
    "concepts": [{"name": "hen", "version": f"hen@{DIGEST}", "a_key_of_next_year": 1}, {"name": "toy", "version": ""}],
    "more": False,
}
EXPECTED = [Concept("hen", f"hen@{DIGEST}"), Concept("toy", "")]


def test_both_clients_list_them(client: Client, server: FakeServer) -> None:
    server.concepts = json.dumps(ANSWER).encode()
    assert client.concepts() == EXPECTED
    assert not client.concepts("h*").more

    async def main() -> list[Concept]:
        async with AsyncClient(server.address) as client:
            return await client.concepts("h?n")

    assert asyncio.run(main()) == EXPECTED
    assert server.patterns == [b"*", b"h*", b"h?n"]


def test_a_list_says_that_it_is_not_whole(client: Client, server: FakeServer) -> None:
    server.concepts = json.dumps({**ANSWER, "more": True}).encode()
    assert client.concepts().more


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"concepts": [{"name": "a"}], "more": false}', b"\xff"])
def test_nonsense_is_a_server_error(client: Client, server: FakeServer, answer: bytes) -> None:
    server.concepts = answer
    with pytest.raises(ServerError, match="malformed answer"):
        client.concepts()


def test_a_pattern_is_text(client: Client, server: FakeServer) -> None:
    bad: Any = 7
    with pytest.raises(InvalidRequest, match="pattern"):
        client.concepts(bad)
    assert not server.patterns
