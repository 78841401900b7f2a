"""docs/gateway.md: each example with the official client, through a real gateway, to the real server."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from guarded import API_KEY, start_guarded
from PIL import Image
from served import ROOT, Served, wait_until

openai = pytest.importorskip("openai", reason="the official client is not installed: pip install openai")
pytest.importorskip("fastapi", reason="the gateway is not installed: pip install 'clients/python[gateway]'")
import uvicorn  # noqa: E402
from vico_client.commands.access import Access  # noqa: E402
from vico_client.gateway import Limits  # noqa: E402
from vico_client.gateway.server import make_app  # noqa: E402

if TYPE_CHECKING:
    from conftest import Exported
    from fastapi import FastAPI

PAGE = ROOT / "docs" / "gateway.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@contextmanager
def _served(app: FastAPI) -> Iterator[str]:
    """Its URL."""
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=running.run)
    thread.start()
    assert wait_until(lambda: running.started, 60)
    [listening] = running.servers[0].sockets
    yield f"http://localhost:{listening.getsockname()[1]}/v1"
    running.should_exit = True
    thread.join(60)


@pytest.fixture(scope="module")
def url(server: Served) -> Iterator[str]:
    with _served(make_app(Access(server.address, 300.0, api_key=""), Limits())) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=url, api_key="any", timeout=300, max_retries=0) as client:
        yield client


Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the example that holds a text; returns its names."""
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((70, 50), 80).convert("RGB").save("photo.jpg")

    def run(holds: str) -> dict[str, Any]:
        [code] = [example for example in EXAMPLES if holds in example]
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(code.replace("http://localhost:8080/v1", url), f"{PAGE.name}: {holds}", "exec"), names)
        return names

    return run


def test_pictures(run: Run, tmp_path: Path) -> None:
    answer = run("n=2")["answer"]
    assert len({file.read_bytes() for file in tmp_path.glob("gateway-*.png")}) == 2
    assert answer.model_extra["vico"]["seed"] == 7
    assert answer.model_extra["vico"]["concept"].startswith("toy@")
    assert answer._request_id == answer.model_extra["vico"]["request_id"]


def test_a_photo_makes_a_difference_and_a_seed_none(run: Run, client: Any, tmp_path: Path) -> None:
    edited = run("images.edit")["answer"].data[0].b64_json
    asked = {"model": "toy", "prompt": "a photo of a * on grass", "quality": "low", "extra_body": {"vico": {"seed": 7}}}
    plain = client.images.generate(**asked).data[0].b64_json
    assert edited != plain
    again = client.images.edit(image=[(tmp_path / "photo.jpg").open("rb")], **asked).data[0].b64_json
    assert again == edited


def test_watching(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("stream=True")
    names = capsys.readouterr().out
    assert names.count("image_generation.completed") == 1
    assert names.count("image_generation.partial_image") <= 2


def test_a_watched_picture_is_the_one_that_is_not_watched(url: str, client: Any) -> None:
    asked = {"model": "toy", "prompt": "a *", "size": "64x64", "extra_body": {"vico": {"seed": 3, "steps": 4}}}
    plain = client.images.generate(**asked).data[0].b64_json

    async def main() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", timeout=300, max_retries=0) as client:
            return [event async for event in await client.images.generate(**asked, stream=True, partial_images=1)]

    *partial, completed = asyncio.run(main())
    assert completed.b64_json == plain
    assert completed.size == "64x64"
    for event in partial:
        Image.open(io.BytesIO(base64.b64decode(event.b64_json))).load()


def test_models(run: Run, client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run("models.list")
    assert "'vico:base', " in capsys.readouterr().out
    assert client.models.retrieve("toy").id == "toy"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model", "model_not_found"),
        ({"model": "DALL-E"}, openai.NotFoundError, "model", "model_not_found"),
        ({"prompt": "no placeholder"}, openai.BadRequestError, "prompt", "invalid_value"),
        ({"n": 9}, openai.BadRequestError, "n", "invalid_value"),
        ({"size": "7x64"}, openai.BadRequestError, "size", "invalid_value"),
        ({"extra_body": {"vico": {"steps": 1000}}}, openai.BadRequestError, "vico.steps", "invalid_value"),
        ({"extra_body": {"vico": {"sampler": "x"}}}, openai.BadRequestError, "vico.sampler", "invalid_value"),
        ({"style": "vivid"}, openai.BadRequestError, "style", "unknown_parameter"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_server_refuses(
    client: Any, fields: dict[str, Any], kind: type[Exception], param: str, code: str, stream: bool
) -> None:
    with pytest.raises(kind) as caught:
        client.images.generate(**{"model": "toy", "prompt": "a *", "stream": stream, **fields})
    assert (caught.value.param, caught.value.code) == (param, code)  # type: ignore[attr-defined]


def test_a_deadline(client: Any) -> None:
    """Too late, or refused at once because it would be: both say so."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(model="toy", prompt="a *", extra_body={"vico": {"deadline": 0.001}})
    assert caught.value.status_code in (429, 504)


def test_the_callers_key_is_what_counts(exported: Exported, tmp_path: Path) -> None:
    guarded = start_guarded(exported, tmp_path)
    try:
        access = Access(guarded.address, 300.0, tls_ca=guarded.authority, api_key="")
        with _served(make_app(access, Limits())) as url:
            with openai.OpenAI(base_url=url, api_key=API_KEY, timeout=300, max_retries=0) as client:
                assert [model.id for model in client.models.list()] == ["vico:base", "toy"]
                assert client.images.generate(model="toy", prompt="a *", quality="low", user="ann").data
                stranger = client.copy(api_key="x")
                for ask in (stranger.models.list, lambda: stranger.images.generate(prompt="a")):
                    with pytest.raises(openai.AuthenticationError) as caught:
                        ask()
                    assert caught.value.code == "invalid_api_key"
            ready = httpx.get(url.replace("/v1", "/health/ready"), timeout=60)
            assert ready.status_code == 200, "probes show no key"
    finally:
        status = guarded.served.stop()
    assert status == 0, guarded.served.log()


def test_health(url: str) -> None:
    for name in ("live", "ready"):
        assert httpx.get(url.replace("/v1", f"/health/{name}"), timeout=60).status_code == 200
