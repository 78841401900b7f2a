"""`vico_stream` as the other way to what `vico` guards, and the server's other listeners, against the real server."""

from __future__ import annotations

import io
import re
import urllib.error
import urllib.request
from collections import Counter
from typing import Any

import grpc
import pytest
from leaks import LEAKS
from PIL import Image
from served import Served
from streamed import Stream, stream
from ways import TO_PICTURES, outcome_on

from serving.stages.names import CONTROL


@pytest.fixture(autouse=True)
def _goes_on_serving(server: Served) -> Any:
    yield
    assert stream(server.address, prompt="a", steps=1)[-1].kind == "end"


def refusal(server: Served, **fields: Any) -> tuple[str, str]:
    """Status and words that end a stream."""
    asked = Stream(server.address, **fields)
    try:
        with pytest.raises(grpc.RpcError) as caught:
            list(asked)
    finally:
        asked.close()
    code: Any = caught.value
    return code.code().name, code.details()


@pytest.mark.parametrize(
    "model", ["picture_stream", "text_encoder", "image_encoder", "unet_loop", "vae_decoder", "vico_stream/1", "", "x"]
)
def test_no_stage_answers_a_stream(server: Served, model: str) -> None:
    status, words = refusal(server, model=model, prompt="a", **{CONTROL: "{}"})
    assert (status, words[: len("model: not served here")]) == ("PERMISSION_DENIED", "model: not served here")


def _bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    return file.getvalue()


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "pixels": ({"prompt": "a", "height": 1 << 20}, "INVALID_ARGUMENT", "height: "),
    "number of pictures": ({"prompt": "a", "num_images": 9}, "INVALID_ARGUMENT", "num_images: "),
    "path for a concept": ({"prompt": "a *", "concept": "../toy"}, "INVALID_ARGUMENT", "concept: malformed"),
    "absent concept": ({"prompt": "a *", "concept": "nobody"}, "NOT_FOUND", "concept: no concept"),
    "forged caller": ({"prompt": "a", "caller": "{}"}, "INVALID_ARGUMENT", "inputs: unexpected inference input"),
    "decompression bomb": (
        {"prompt": "a *", "concept": "toy", "reference_image": _bomb()}, "INVALID_ARGUMENT",
        "reference_image: 9000 x 9000 pixels",
    ),
    "long prompt": ({"prompt": "a" * 1001}, "INVALID_ARGUMENT", "prompt: "),
    "reports without end": ({"prompt": "a", "progress_every": -1}, "INVALID_ARGUMENT", "progress_every: "),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_limits_hold_for_streams_too(server: Served, case: str) -> None:
    fields, expected, words = REFUSED[case]
    status, line = refusal(server, **fields)
    assert (status, line[: len(words)]) == (expected, words)
    assert not LEAKS.search(line), line


def test_a_message_beyond_the_bound_is_not_read(server: Served) -> None:
    status, line = refusal(server, prompt="a", reference_image=bytes(10 * 2**20))
    assert status == "RESOURCE_EXHAUSTED"
    assert not LEAKS.search(line), line


def test_streams_that_a_stage_refuses_do_triton_no_harm(server: Served) -> None:
    """Where Triton ends them by itself (`triton_grpc_error`) it logs this of each, and dies of one in some hundred."""
    told, before, ended = server.log().count("HandleCancellation called"), server.triton(), Counter[str]()
    with grpc.insecure_channel(server.address) as channel:
        for _ in range(300):
            ended[outcome_on(TO_PICTURES[-1], channel, prompt="a *", concept="nobody").status] += 1
    assert ended == {"NOT_FOUND": 300}
    assert server.triton() == before
    assert server.log().count("HandleCancellation called") == told


@pytest.mark.parametrize(
    "path", ["/v2/models/vico/infer", "/v2/repository/index", "/v2/health/ready", "/../etc/passwd"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_tritons_own_page_of_metrics_is_no_way_in(server: Served, path: str, method: str) -> None:
    """The one HTTP server that Triton keeps; only the supervisor is told of it."""
    [port] = re.findall(r"--metrics-port=(\d+)", server.processes()[server.triton()])
    data = b"{}" if method == "POST" else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, data=data)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        content = error.read()
    assert content in (b"", b'{"error":"Method Not Allowed"}')
