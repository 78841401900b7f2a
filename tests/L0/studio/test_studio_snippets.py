"""Copied code asks for the very same picture, whatever was typed."""

from __future__ import annotations

import ast
import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vico_client import GenerateRequest

from studio.snippets import curl_code, python_code, request_body
from studio.wish import Wish

# what a prompt can hold: anything that UTF-8 can
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
WISHES = st.builds(
    Wish,
    prompt=TEXT,
    concept=st.sampled_from(["", "teddy", "teddy@" + "0" * 64]),
    seed=st.integers(0, 2**53 - 1),
    image_guidance=st.floats(0, 1.5),
    guidance_scale=st.floats(1, 30),
    preset=st.sampled_from(["fast", "balanced", "quality"]),
    steps=st.none() | st.integers(1, 100),
    negative_prompt=TEXT,
)
AWKWARD = "it's \"$(rm -rf /)\" `id` \\ \n {'*'} %s é 🧸 -- ; | & #"


def request_of(prompt: str, options: dict[str, Any]) -> GenerateRequest:
    return GenerateRequest(prompt, request_id="same", **options)


def called(code: str) -> tuple[str, str, dict[str, Any]]:
    """Address, prompt and keywords of the calls in a program, by reading it."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    [client] = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Client"]
    [generate] = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "generate"]
    keywords = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in generate.keywords}
    return ast.literal_eval(client.args[0]), ast.literal_eval(generate.args[0]), keywords


@given(WISHES, TEXT)
def test_the_program_asks_for_the_same_picture(wish: Wish, address: str) -> None:
    asked, prompt, options = called(python_code(wish, address))
    assert asked == address
    assert request_of(prompt, options) == request_of(wish.prompt, wish.options())


@given(WISHES)
def test_the_shell_sends_the_same_request(wish: Wish) -> None:
    words = shlex.split(curl_code(wish, "http://localhost:8080/").replace("\\\n", ""))
    assert words[words.index("--data") + 1 :][1] == "|"
    assert words[: words.index("--data")][-3:-1] == ["http://localhost:8080/v1/images/generations", "--header"]
    assert json.loads(words[words.index("--data") + 1]) == request_body(wish)


@pytest.mark.parametrize("concept", ["", "teddy"])
def test_the_gateway_understands_the_request_as_the_page_meant_it(concept: str) -> None:
    pytest.importorskip("fastapi", reason="the gateway is not installed")
    fields = pytest.importorskip("vico_client.gateway.fields")
    translate = pytest.importorskip("vico_client.gateway.translate")
    wish = Wish(AWKWARD, concept, 7, 0.5, 4.0, "balanced", 9, "text")
    asked = fields.ImageFields.model_validate_json(json.dumps(request_body(wish)))
    meant = {name: value for name, value in translate.options_of(asked).items() if value is not None}
    assert asked.prompt == wish.prompt
    assert {name: meant[name] for name in wish.options()} == wish.options()
    assert meant.keys() - wish.options().keys() <= {"num_images", "output_format"}


def test_the_program_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import vico_client

    from tests.helpers.photos import noise_pictures

    asked: list[GenerateRequest] = []

    class Client:
        def __init__(self, address: str) -> None:
            assert address == "localhost:8001"

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None: ...

        def generate(self, prompt: str, **options: Any) -> list[Any]:
            asked.append(request_of(prompt, options))
            return noise_pictures(1)

    monkeypatch.setattr(vico_client, "Client", Client)
    monkeypatch.chdir(tmp_path)
    wish = Wish(AWKWARD, "teddy", 7)
    exec(compile(python_code(wish, "localhost:8001"), "copied", "exec"), {})
    assert asked == [request_of(wish.prompt, wish.options())]
    assert (tmp_path / "picture.png").stat().st_size > 0
