"""Streams, models, health, keys, and callers who hang up."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from fake_sdk import DIGEST, FakeClient, FakeStream, app_of, call, edit, encoded, generate, making
from hypothesis import given, settings
from hypothesis import strategies as st
from vico_client import Preview
from vico_client.gateway.fields import ImageFields
from vico_client.gateway.watching import Relay


def _events(text: str) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block for block in text.strip().split("\n\n") if not block.startswith(":")]
    pairs = [block.split("\n") for block in blocks]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


@pytest.mark.parametrize("partial", [0, 1, 2, 3])
@pytest.mark.parametrize("pictures", [1, 2])
def test_previews_are_spread_over_the_steps(partial: int, pictures: int) -> None:
    client = FakeClient(events=making(8, pictures))
    answer = generate(app_of(client), stream=True, partial_images=partial, n=pictures, quality="low")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-request-id"] == "r-1"
    events = _events(answer.text)
    assert [name for name, _ in events] == [
        *["image_generation.partial_image"] * (partial * pictures),
        *["image_generation.completed"] * pictures,
    ]
    assert all(name == body["type"] for name, body in events)
    first = [body for name, body in events if body["vico"]["index"] == 0 and "partial_image_index" in body]
    assert [body["partial_image_index"] for body in first] == list(range(partial))
    steps = [body["vico"]["step"] for body in first]
    assert steps == {0: [], 1: [4], 2: [3, 6], 3: [2, 4, 6]}[partial]
    completed = [body for name, body in events if name.endswith("completed")]
    assert [body["vico"]["index"] for body in completed] == list(range(pictures))
    assert all(base64.b64decode(body["b64_json"]) == encoded() for body in completed)
    assert (completed[-1]["size"], completed[-1]["quality"], completed[-1]["vico"]["seed"]) == ("16x24", "low", 7)
    assert answer.text.count(": step ") == 8
    assert client.streams[0].closed


@settings(max_examples=40)
@given(steps=st.integers(1, 30), told=st.sets(st.integers(1, 30)), wanted=st.integers(0, 3), pictures=st.integers(1, 3))
def test_reports_that_a_busy_server_leaves_out_are_not_made_up(
    steps: int, told: set[int], wanted: int, pictures: int
) -> None:
    """Whatever is left out: no preview twice, none too many, each later than the one before, and every picture."""
    events = [event for event in making(steps, pictures) if not isinstance(event, Preview) or event.step in told]
    relay = Relay(ImageFields(prompt="a", partial_images=wanted), FakeStream("r", events), "image_generation")

    async def main() -> str:
        await relay.open()
        return b"".join([part async for part in relay.events()]).decode()

    sent = [body for _, body in _events(asyncio.run(main()))]
    for index in range(pictures):
        own = [body for body in sent if body["vico"]["index"] == index]
        partial = own[:-1]
        assert [body["type"] for body in own] == [
            *["image_generation.partial_image"] * len(partial),
            "image_generation.completed",
        ]
        assert [body["partial_image_index"] for body in partial] == list(range(len(partial)))
        assert len(partial) <= min(wanted, len(told & set(range(1, steps + 1))))
        shown = [body["vico"]["step"] for body in partial]
        assert shown == sorted(set(shown))


def test_previews_come_in_the_format_asked_for() -> None:
    answer = generate(app_of(FakeClient(events=making())), stream=True, partial_images=1, output_format="webp")
    assert base64.b64decode(_events(answer.text)[0][1]["b64_json"])[8:12] == b"WEBP"


def test_an_edit_can_be_watched_too() -> None:
    answer = edit(app_of(FakeClient(events=making())), stream="true", partial_images="1")
    assert [name for name, _ in _events(answer.text)] == ["image_edit.partial_image", "image_edit.completed"]


def test_models() -> None:
    app = app_of(FakeClient())
    listed = call(app, "GET", "/v1/models").json()
    assert [card["id"] for card in listed["data"]] == ["vico:base", "bear", "toy"]
    assert listed["object"] == "list"
    for name in ("vico:base", "toy", f"toy@{DIGEST}"):
        assert call(app, "GET", f"/v1/models/{name}").json() == {
            "id": name, "object": "model", "created": 0, "owned_by": "vico"
        }  # fmt: skip
    for name in ("cat", "*", "to?", "toy@0"):
        answer = call(app, "GET", f"/v1/models/{name.replace('?', '%3F')}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("header", "key"), [({}, ""), ({"authorization": "Bearer k1"}, "k1"), ({"authorization": "Basic x"}, "")]
)
def test_the_callers_key_is_passed_on(header: dict[str, str], key: str) -> None:
    client = FakeClient()
    call(app_of(client), "GET", "/v1/models", headers=header)
    call(app_of(client), "POST", "/v1/images/generations", headers=header, json={"prompt": "a", "user": "ann"})
    assert client.keys == [(key, None), (key, "ann")]


def test_health() -> None:
    assert call(app_of(FakeClient()), "GET", "/health/live").status_code == 200
    assert call(app_of(FakeClient()), "GET", "/health/ready").status_code == 200
    assert call(app_of(FakeClient(), serves=False), "GET", "/health/ready").status_code == 503


def test_a_caller_who_hangs_up_ends_the_request() -> None:
    client = FakeClient(block=True)
    body = json.dumps({"prompt": "a"}).encode()
    scope = {
        "type": "http", "method": "POST", "path": "/v1/images/generations", "raw_path": b"", "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "http_version": "1.1", "scheme": "http",
        "server": ("gateway", 80), "client": ("caller", 1), "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        while not client.requests:
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        return None

    asyncio.run(asyncio.wait_for(app_of(client)(scope, receive, send), 60))
    assert client.cancelled == 1


def test_the_application_closes_its_client() -> None:
    client = FakeClient()
    app = app_of(client)

    async def main() -> None:
        async with app.router.lifespan_context(app):
            assert not client.closed

    asyncio.run(main())
    assert client.closed
