from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fake_runners import GRAPHSET
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import InvalidField, to_wire
from serving.request import GenerateRequest, parse_request
from vico.sampling import PRESETS

DIGEST = "0123456789abcdef" * 4
INTS: dict[str, tuple[Any, int, int]] = {
    "seed": (np.int64, 0, 2**63 - 1),
    "steps": (np.int32, 1, 100),
    "num_images": (np.int32, 1, 8),
    "priority": (np.int32, 1, 9),
}
FLOATS = {"guidance_scale": (1.0, 30.0), "image_guidance": (0.0, 1.5)}
TEXTS = ("prompt", "negative_prompt", "concept", "preset", "sampler", "output_format", "reference_image")
FIELDS = (*TEXTS, *INTS, *FLOATS, "height", "width")


def text(value: str | bytes) -> npt.NDArray[np.object_]:
    return np.array([value.encode() if isinstance(value, str) else value], dtype=object)


def parse(**fields: npt.NDArray[Any]) -> GenerateRequest:
    return parse_request({"prompt": text("a photo"), **fields}, GRAPHSET)


def refused(field: str, value: npt.NDArray[Any]) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        parse(**{"concept": text("toy"), field: value})
    assert caught.value.field == field
    assert caught.value.accepted
    wire = to_wire(caught.value)
    assert wire.code == "INVALID_ARG"
    assert "\n" not in wire.message
    assert len(wire.message) < 1200
    return caught.value


def field_of_refusal(**fields: npt.NDArray[Any]) -> str | None:
    try:
        parse(**fields)
    except InvalidField as error:
        return error.field
    return None


def test_defaults() -> None:
    assert parse() == GenerateRequest(
        prompt="a photo",
        negative_prompt="",
        concept="",
        seed=0,
        steps=25,
        sampler="dpmpp_2m",
        guidance_scale=7.5,
        image_guidance=1.0,
        height=32,
        width=32,
        num_images=1,
        output_format="png",
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_what_the_client_leaves_out(name: str) -> None:
    request = parse(preset=text(name))
    assert (request.preset, request.sampler, request.steps) == (name, PRESETS[name].sampler, PRESETS[name].steps)
    request = parse(preset=text(name), sampler=text("ddim"), steps=np.array([7], np.int32))
    assert (request.preset, request.sampler, request.steps) == (name, "ddim", 7)


def test_a_prompt_is_needed() -> None:
    with pytest.raises(InvalidField, match="prompt: missing"):
        parse_request({}, GRAPHSET)


@pytest.mark.parametrize("name", INTS)
@given(data=st.data())
def test_whole_numbers(name: str, data: st.DataObject) -> None:
    dtype, low, high = INTS[name]
    limits = np.iinfo(dtype)
    number = data.draw(st.integers(int(limits.min), int(limits.max)) | st.sampled_from([low, high]))
    array = np.array([number], dtype)
    if low <= number <= high:
        assert getattr(parse(**{name: array}), name) == number
    else:
        refused(name, array)


@pytest.mark.parametrize("name", FLOATS)
@given(number=st.floats(width=32) | st.floats(0, 31, width=32))
def test_real_numbers(name: str, number: float) -> None:
    low, high = FLOATS[name]
    array = np.array([number], np.float32)
    if math.isfinite(number) and low <= number <= high:
        assert getattr(parse(**{name: array}), name) == number
    else:
        refused(name, array)


@pytest.mark.parametrize("name", ["height", "width"])
@given(number=st.integers(-(2**31), 2**31 - 1) | st.integers(-20, 100))
def test_sizes(name: str, number: int) -> None:
    array = np.array([number], np.int32)
    if number == 0:
        assert getattr(parse(**{name: array}), name) == 32
    elif number in (16, 32, 48, 64):
        assert getattr(parse(**{name: array}), name) == number
    else:
        assert "multiple of 16 from 16 to 64" in str(refused(name, array))


@pytest.mark.parametrize(("name", "low"), [("prompt", 1), ("negative_prompt", 0)])
@given(value=st.text(max_size=30))
def test_texts(name: str, low: int, value: str) -> None:
    if len(value) < low:
        refused(name, text(value))
    else:
        assert getattr(parse(**{name: text(value)}), name) == value


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "concept", "preset", "sampler", "output_format"])
@given(value=st.binary(max_size=40))
def test_any_bytes_are_accepted_or_refused_by_name(name: str, value: bytes) -> None:
    assert field_of_refusal(**{name: text(value)}) in (None, name)


@pytest.mark.parametrize("value", [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"ok\xc3"])
def test_bytes_that_are_not_utf8(value: bytes) -> None:
    assert "UTF-8" in str(refused("prompt", text(value)))


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_lengths_count_characters(name: str) -> None:
    assert getattr(parse(**{name: text("ü" * 1000)}), name)
    assert "1001 characters" in str(refused(name, text("ü" * 1001)))
    assert "4004 bytes" in str(refused(name, text(b"\xf0\x9f\x8d\x93" * 1001)))


@pytest.mark.parametrize("value", ["toy", f"toy@{DIGEST}", "a", "0.b_c-d", "x" * 64])
def test_good_concepts(value: str) -> None:
    assert parse(concept=text(value)).concept == value


@pytest.mark.parametrize(
    "value",
    ["../toy", "/etc/passwd", "Toy", ".toy", "toy@", f"toy@{DIGEST[:-1]}", f"toy@{DIGEST.upper()}", "toy\n", "toy\0",
     "x" * 65, "a/b", "@", f"@{DIGEST}", f"toy@{DIGEST}@{DIGEST}", "tòy", " "],
)  # fmt: skip
def test_bad_concepts(value: str) -> None:
    refused("concept", text(value))


@pytest.mark.parametrize(
    ("name", "value"), [("sampler", "euler"), ("sampler", "DDIM"), ("output_format", "gif"), ("preset", "best")]
)
def test_unknown_choices_name_the_known(name: str, value: str) -> None:
    assert {"ddim", "png", "fast"} & set(refused(name, text(value)).accepted.split(", "))


@pytest.mark.parametrize("name", FIELDS)
@given(
    array=st.builds(
        lambda dtype, shape: np.zeros(shape, dtype),
        st.sampled_from(["i1", "i4", "i8", "u8", "f2", "f4", "f8", "?", "O", "S3", "U3", "c8"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    )
)
def test_wrong_element_types_and_shapes(name: str, array: npt.NDArray[Any]) -> None:
    """Zeros of any kind: either exactly what the field takes, or refused by its name."""
    field = field_of_refusal(**{"concept": text("toy"), name: array})
    assert field == name or (field is None and array.shape == (1,))


def test_a_reference_photo_is_bounded_and_needs_a_concept() -> None:
    assert "8388609 bytes" in str(refused("reference_image", text(bytes(8 * 2**20 + 1))))
    with pytest.raises(InvalidField, match="without a concept"):
        parse(reference_image=text(b"photo"))
    assert parse(concept=text("toy"), reference_image=text(b"photo")).concept == "toy"


@given(prompt=st.text(min_size=1, max_size=50), seed=st.integers(0, 2**63 - 1), scale=st.floats(1, 30, width=32))
def test_json_round_trip(prompt: str, seed: int, scale: float) -> None:
    request = parse(
        prompt=text(prompt.encode("utf-8", "replace")),
        seed=np.array([seed], np.int64),
        guidance_scale=np.array([scale], np.float32),
    )
    assert GenerateRequest.from_json(request.to_json()) == request
    assert json.loads(request.to_json())["seed"] == seed


def test_a_resolved_request_names_its_version() -> None:
    for name in ("toy", f"toy@{'f' * 64}"):
        request = parse(concept=text(name)).resolved(DIGEST)
        assert request.concept == f"toy@{DIGEST}"
        assert request.concept_digest == DIGEST
