"""Pictures through the gateway: what reaches the SDK, what comes back, what is refused and how."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_sdk import DIGEST, FakeClient, app_of, call, edit, encoded, generate
from vico_client.gateway import Limits
from vico_client.gateway.fields import PRESETS


def test_a_request_without_more_leaves_the_choice_to_the_server() -> None:
    client = FakeClient()
    answer = generate(app_of(client))
    assert answer.status_code == 200
    (sent,) = client.requests
    assert (sent.prompt, sent.num_images, sent.output_format) == ("a photo of *", 1, "png")
    left = ("concept", "preset", "steps", "sampler", "guidance_scale", "image_guidance", "height", "width", "priority")
    assert {getattr(sent, name) for name in (*left, "negative_prompt", "reference_image")} == {None}
    body = answer.json()
    assert base64.b64decode(body["data"][0]["b64_json"]) == encoded()
    assert (body["size"], body["output_format"], body["quality"]) == ("16x24", "png", "auto")
    assert body["vico"]["seed"] == 7
    assert body["vico"]["warnings"] == [{"code": "prompt_truncated", "message": "77 of 90 tokens were used"}]
    assert answer.headers["x-request-id"] == body["vico"]["request_id"] == sent.request_id


def test_every_field_reaches_the_sdk() -> None:
    client = FakeClient()
    extensions = {
        "seed": 5, "steps": 9, "sampler": "ddim", "guidance_scale": 3, "image_guidance": 0.5,
        "negative_prompt": "blur", "priority": 8, "deadline": 12.5,
    }  # fmt: skip
    fields: dict[str, Any] = {
        "model": f"toy@{DIGEST}", "n": 2, "size": "56x48", "quality": "low", "output_format": "webp",
        "response_format": "url", "user": "ann", "background": "opaque", "moderation": "auto",
    }  # fmt: skip
    answer = generate(app_of(client), **fields, vico=extensions)
    assert answer.status_code == 200, answer.text
    (sent,) = client.requests
    asked = {name: getattr(sent, name) for name in (*extensions, "concept", "height", "width") if name != "deadline"}
    expected = {**extensions, "concept": f"toy@{DIGEST}", "height": 48, "width": 56}
    assert asked == {name: value for name, value in expected.items() if name != "deadline"}
    assert (sent.preset, sent.num_images, sent.output_format) == ("fast", 2, "webp")
    assert client.timeouts == [12.5]
    assert client.keys == [("", "ann")]
    urls = [item["url"] for item in answer.json()["data"]]
    assert urls == [f"data:image/webp;base64,{base64.b64encode(encoded('webp')).decode()}"] * 2


@pytest.mark.parametrize("quality", PRESETS)
def test_quality_is_a_preset(quality: str) -> None:
    client = FakeClient()
    assert generate(app_of(client), quality=quality).json()["quality"] == quality
    assert client.requests[0].preset == PRESETS[quality]


@pytest.mark.parametrize("model", ["vico:base", None, ""])
def test_the_plain_base_is_no_concept(model: str | None) -> None:
    client = FakeClient()
    assert generate(app_of(client), model=model).status_code == 200
    assert client.requests[0].concept is None


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": 7}, "prompt", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": "2"}, "n", "invalid_value"),
        ({"size": "big"}, "size", "invalid_value"),
        ({"size": "0x64"}, "size", "invalid_value"),
        ({"quality": "ultra"}, "quality", "invalid_value"),
        ({"output_format": "gif"}, "output_format", "invalid_value"),
        ({"background": "transparent"}, "background", "invalid_value"),
        ({"style": "vivid"}, "style", "unknown_parameter"),
        ({"seed": 1}, "seed", "unknown_parameter"),
        ({"vico": {"sede": 1}}, "vico.sede", "unknown_parameter"),
        ({"vico": {"seed": -1}}, "vico.seed", "invalid_value"),
        ({"vico": {"seed": 2**63}}, "vico.seed", "invalid_value"),
        ({"vico": {"deadline": 0}}, "vico.deadline", "invalid_value"),
        ({"vico": 7}, "vico", "invalid_value"),
        ({"partial_images": 4}, "partial_images", "invalid_value"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    client = FakeClient()
    answer = generate(app_of(client), **fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert error["message"].startswith(f"{param}: ")
    assert not client.requests


@pytest.mark.parametrize("content", [b"{", b"[]", b"7", b"null", b"", b'{"prompt": "\xff"}'])
def test_a_body_that_is_no_request(content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = call(app_of(FakeClient()), "POST", "/v1/images/generations", content=content, headers=headers)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_edit_brings_a_photo() -> None:
    client, photo = FakeClient(), encoded("jpeg", (40, 30))
    answer = edit(app_of(client), photo, model="toy", n="2", size="auto", user="ann", **{"vico[seed]": "5"})
    assert answer.status_code == 200, answer.text
    (sent,) = client.requests
    assert (sent.reference_image, sent.concept, sent.num_images, sent.seed) == (photo, "toy", 2, 5)
    assert client.keys == [("", "ann")]


def test_extensions_of_a_form_as_json() -> None:
    client = FakeClient()
    assert edit(app_of(client), vico=json.dumps({"seed": 5, "steps": 3})).status_code == 200
    assert (client.requests[0].seed, client.requests[0].steps) == (5, 3)


def test_pythons_client_names_a_list_of_photos_so() -> None:
    client = FakeClient()
    assert edit(app_of(client), name="image[]").status_code == 200
    assert client.requests[0].reference_image == encoded()


@pytest.mark.parametrize(
    ("photo", "fields", "param"),
    [
        (b"no picture", {}, "image"),
        (b"", {}, "image"),
        (b"GIF89a" + bytes(40), {}, "image"),
        (None, {"n": "many"}, "n"),
        (None, {"vico": "{"}, "vico"),
        (None, {"vico": '{"sede": 1}'}, "vico.sede"),
        (None, {"vico[sede]": "1"}, "vico.sede"),
        (None, {"mask": "x"}, "mask"),
        (None, {"n": ["1", "2"]}, None),
    ],
)
def test_a_wrong_form_is_refused(photo: bytes | None, fields: dict[str, Any], param: str | None) -> None:
    client = FakeClient()
    answer = edit(app_of(client), photo, **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert not client.requests


def test_a_form_has_one_photo_and_nothing_else() -> None:
    app, picture = app_of(FakeClient()), ("photo.png", encoded(), "image/png")
    several = {"files": [("image[]", picture), ("image[]", picture)], "data": {"prompt": "a"}}
    masked = {"files": [("image", picture), ("mask", picture)], "data": {"prompt": "a"}}
    absent = {"files": {"x": (None, "1")}, "data": {"prompt": "a"}}
    for request, param in ((several, "image"), (masked, "mask"), (absent, "image")):
        answer = call(app, "POST", "/v1/images/edits", **request)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert call(app, "POST", "/v1/images/edits", json={"prompt": "a"}).status_code == 415


def test_a_photo_of_too_many_pixels_is_refused_by_its_header() -> None:
    client = FakeClient()
    app = app_of(client, Limits(photo_pixels=100))
    assert edit(app, encoded(size=(10, 10))).status_code == 200
    answer = edit(app, encoded(size=(10, 11)))
    assert answer.status_code == 400
    assert "10 x 11 pixels" in answer.json()["error"]["message"]
    assert len(client.requests) == 1


def test_a_body_is_read_up_to_its_limit_only() -> None:
    client = FakeClient()
    app = app_of(client, Limits(photo_bytes=1000))
    read = 0
    begin = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'

    async def body(first: bytes) -> AsyncIterator[bytes]:
        nonlocal read
        for chunk in (first, *[b"a" * 1000] * 1000):
            read += len(chunk)
            yield chunk

    for path, kind, first in (
        ("generations", "application/json", b'"'),
        ("edits", "multipart/form-data; boundary=x", begin),
    ):
        for length, most in (({"content-length": "1000000"}, 0), ({}, 67_000)):
            read, headers = 0, {"content-type": kind, **length}
            answer = call(app, "POST", f"/v1/images/{path}", content=body(first), headers=headers)
            assert answer.status_code == 413, answer.text
            assert answer.json()["error"]["code"] == "request_too_large"
            assert read <= most + 1000
    assert not client.requests
