"""What the client makes of the server's answers: pictures, info, warnings; and of nonsense."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_vico_server import DIGEST, RGB, Call, FakeServer, bytes_tensor, info_of, picture, pictures, response
from hypothesis import given
from hypothesis import strategies as st
from vico_client import Client, GenerateRequest, ServerError, ServerWarning, VicoClientError, VicoWarning
from vico_client.decode import decode_result

WARNING = {"code": "prompt_truncated", "message": "77 of 90 tokens were used"}


@pytest.mark.parametrize(("output_format", "tolerance"), [(None, 0), ("png", 0), ("raw", 0), ("jpeg", 8), ("webp", 8)])
def test_pictures_of_every_format(client: Client, output_format: str | None, tolerance: int) -> None:
    images = client.generate("a toy", output_format=output_format, num_images=3, height=40, width=48)
    assert len(images) == 3
    for image in images:
        assert (image.mode, image.size) == ("RGB", (48, 40))
        assert np.abs(np.asarray(image).astype(int) - RGB).max() <= tolerance


def test_raw_pixels_are_height_by_width(client: Client, server: FakeServer) -> None:
    pixels = np.arange(24 * 16 * 3, dtype=np.uint8).reshape(24, 16, 3)
    server.answer = lambda call: response([pixels.tobytes()], json.dumps(info_of(call.fields)).encode())
    (image,) = client.generate("a toy", output_format="raw")
    assert np.array_equal(np.asarray(image), pixels)


def test_the_result_tells_all_the_server_said(client: Client, server: FakeServer) -> None:
    server.answer = lambda call: pictures(call, an_output_of_next_year=[1])
    result = client.generate_result("a photo of *", concept="my-toy", seed=7, request_id="r7", num_images=2)
    info = result.info
    assert (info.seed, info.steps, info.sampler, info.height, info.width) == (7, 25, "dpmpp_2m", 24, 16)
    assert (info.concept, info.concept_digest) == (f"my-toy@{DIGEST}", DIGEST)
    assert dict(info.timings) == {"text_encoder": 0.01, "unet_loop": 1.5}
    assert info.warnings == ()
    assert result.request_id == "r7"
    assert [bytes(file) for file in result.files] == [picture("png", 16, 24)] * 2
    assert len(result.images) == 2


def test_files_are_views_of_the_answer_and_can_be_written(client: Client, tmp_path: Path) -> None:
    (file,) = client.generate_result("a toy").files
    assert file.readonly
    (tmp_path / "picture.png").write_bytes(file)
    assert (tmp_path / "picture.png").read_bytes() == picture("png", 16, 24)


def test_without_a_concept_there_is_no_digest(client: Client) -> None:
    assert client.generate_result("a toy").info.concept_digest == ""


@pytest.mark.parametrize("call", ["generate", "generate_result"])
def test_warnings_of_the_server_are_python_warnings_at_the_callers_line(
    client: Client, server: FakeServer, call: str
) -> None:
    server.answer = lambda call: pictures(call, warnings=[WARNING])
    with pytest.warns(VicoWarning, match="77 of 90") as caught:
        getattr(client, call)("a very long prompt")
    assert caught[0].filename == __file__
    assert isinstance(caught[0].message, VicoWarning)
    assert caught[0].message.code == "prompt_truncated"


def test_send_only_reports_warnings_in_the_result(client: Client, server: FakeServer) -> None:
    server.answer = lambda call: pictures(call, warnings=[WARNING])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = client.send(GenerateRequest("a very long prompt"))
    assert result.info.warnings == (ServerWarning(**WARNING),)


def _renamed(call: Call) -> Any:
    return response([picture("png", 16, 24)], b"{}", images_name="pictures")


def _answer(images: list[bytes], info: Any) -> Any:
    return lambda call: response(images, info if isinstance(info, bytes) else json.dumps(info).encode())


def _cut_off(call: Call) -> Any:
    answer = pictures(call)
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-10]
    return answer


GOOD_INFO = info_of({})
MALFORMED = {
    "no outputs": lambda call: pictures(call).__class__(),
    "images called otherwise": _renamed,
    "cut off": _cut_off,
    "an odd length": lambda call: _with_images(call, b"\x01\x02"),
    "not an image": _answer([b"GIF89a not one of ours"], GOOD_INFO),
    "half an image": _answer([picture("png", 16, 24)[:60]], GOOD_INFO),
    "info is no JSON": _answer([picture("png", 16, 24)], b"{"),
    "info is no UTF-8": _answer([picture("png", 16, 24)], b'{"a": "\xff"}'),
    "info is no object": _answer([picture("png", 16, 24)], []),
    "info lacks a key": _answer([picture("png", 16, 24)], {"seed": 0}),
    "info of wrong types": _answer([picture("png", 16, 24)], {**GOOD_INFO, "steps": "many"}),
    "warnings of wrong form": _answer([picture("png", 16, 24)], {**GOOD_INFO, "warnings": [3]}),
    "timings of wrong form": _answer([picture("png", 16, 24)], {**GOOD_INFO, "timings": [3]}),
}


def _with_images(call: Call, content: bytes) -> Any:
    answer = pictures(call)
    answer.raw_output_contents[0] = content
    return answer


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_answer_is_a_server_error(client: Client, server: FakeServer, case: str) -> None:
    server.answer = MALFORMED[case]
    with pytest.raises(ServerError, match="malformed answer") as caught:
        client.generate("a toy", request_id="r9")
    assert caught.value.request_id == "r9"


def test_fewer_pictures_than_asked_for_are_a_server_error(client: Client, server: FakeServer) -> None:
    server.answer = _answer([picture("png", 16, 24)], GOOD_INFO)
    with pytest.raises(ServerError, match="1 images for the 3"):
        client.generate("a toy", num_images=3)


def test_raw_pixels_of_another_size_are_a_server_error(client: Client, server: FakeServer) -> None:
    server.answer = _answer([b"\0" * 99], GOOD_INFO)
    with pytest.raises(ServerError, match="malformed answer"):
        client.generate("a toy", output_format="raw")


@given(
    files=st.lists(st.binary(min_size=12, max_size=12), min_size=1, max_size=4),
    seed=st.integers(0, 2**63 - 1),
    concept=st.sampled_from(["", f"my-toy@{DIGEST}"]),
    remarks=st.lists(st.builds(ServerWarning, code=st.text(), message=st.text())),
    timings=st.dictionaries(st.text(), st.floats(0, 1e6)),
)
def test_any_answer_round_trips(
    files: list[bytes], seed: int, concept: str, remarks: list[ServerWarning], timings: dict[str, float]
) -> None:
    told = info_of(
        {}, seed=seed, concept=concept, warnings=[vars(r) for r in remarks], timings=timings, height=2, width=2
    )
    request = GenerateRequest("a toy", output_format="raw", num_images=len(files))
    result = decode_result(response(files, json.dumps(told).encode()), request)
    assert [bytes(file) for file in result.files] == files
    assert [image.tobytes() for image in result.images] == files
    assert (result.info.seed, result.info.concept) == (seed, concept)
    assert result.info.warnings == tuple(remarks)
    assert result.info.timings == timings


@given(images=st.binary(max_size=64), info=st.binary(max_size=64))
def test_no_answer_escapes_as_anything_but_our_error(images: bytes, info: bytes) -> None:
    answer = response([], info)
    answer.raw_output_contents[0] = images
    with pytest.raises(VicoClientError):
        decode_result(answer, GenerateRequest("a toy"))


@given(elements=st.lists(st.binary(max_size=20), max_size=5))
def test_bytes_tensors_come_apart_as_they_were_put_together(elements: list[bytes]) -> None:
    from vico_client.decode import bytes_elements

    answer = response(elements, b"{}")
    assert answer.raw_output_contents[0] == bytes_tensor(elements)
    assert [bytes(element) for element in bytes_elements(answer, "images")] == elements
