"""Every kind of bad input has its status and a message that names the field; the server goes on serving."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from leaks import LEAKS
from PIL import Image
from served import Answer, Caller, Refusal, Served

if TYPE_CHECKING:
    from conftest import Exported

PROMPT = "a photo of a *"
GOOD: dict[str, Any] = {"prompt": PROMPT, "concept": "toy", "steps": 1}


@pytest.fixture(autouse=True)
def _goes_on_serving(call: Caller) -> Any:
    yield
    assert call(**GOOD).images


def assert_clean(refusal: Refusal) -> None:
    assert not LEAKS.search(refusal.message), refusal.message
    assert "\n" not in refusal.message


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown concept": ({"concept": "nothing"}, "NOT_FOUND", "concept: no concept 'nothing'"),
    "unknown version": ({"concept": f"toy@{'0' * 64}"}, "NOT_FOUND", "concept: 'toy' has no such version"),
    "path as concept": ({"concept": "../../etc/passwd"}, "INVALID_ARGUMENT", "concept: malformed"),
    "no placeholder": ({"prompt": "a photo"}, "INVALID_ARGUMENT", "prompt: no placeholders '*'"),
    "two placeholders": ({"prompt": "* and *"}, "INVALID_ARGUMENT", "prompt: 2 placeholders '*'"),
    "placeholder too late": ({"prompt": "very " * 90 + "*"}, "INVALID_ARGUMENT", "prompt: the placeholder '*'"),
    "empty prompt": ({"prompt": "", "concept": ""}, "INVALID_ARGUMENT", "prompt: 0 characters"),
    "endless prompt": ({"prompt": "* " + "a" * 10**6}, "INVALID_ARGUMENT", "prompt: 1000002 bytes"),
    "not UTF-8": ({"prompt": b"\xff*"}, "INVALID_ARGUMENT", "prompt: not UTF-8"),
    "odd height": ({"height": 33}, "INVALID_ARGUMENT", "height: 33 pixels; accepted: a multiple of 4 from 4 to 64"),
    "huge width": ({"width": 2**30}, "INVALID_ARGUMENT", "width: 1073741824 pixels"),
    "negative width": ({"width": -8}, "INVALID_ARGUMENT", "width: -8 pixels"),
    "NaN guidance": ({"guidance_scale": np.nan}, "INVALID_ARGUMENT", "guidance_scale: nan"),
    "infinite strength": ({"image_guidance": np.inf}, "INVALID_ARGUMENT", "image_guidance: inf"),
    "no steps": ({"steps": 0}, "INVALID_ARGUMENT", "steps: 0; accepted: a whole number from 1 to 100"),
    "10000 steps": ({"steps": 10_000}, "INVALID_ARGUMENT", "steps: 10000"),
    "negative seed": ({"seed": -1}, "INVALID_ARGUMENT", "seed: -1"),
    "no images": ({"num_images": 0}, "INVALID_ARGUMENT", "num_images: 0"),
    "too many images": ({"num_images": 9}, "INVALID_ARGUMENT", "num_images: 9; accepted: a whole number from 1 to 8"),
    "unknown sampler": ({"sampler": "euler"}, "INVALID_ARGUMENT", "'euler'; accepted: dpmpp_2m, ddim"),
    "unknown format": ({"output_format": "gif"}, "INVALID_ARGUMENT", "output_format: unknown value 'gif'"),
    "wrong dtype": ({"steps": np.array([5], np.int64)}, "INVALID_ARGUMENT", "steps: data-type is 'INT64'"),
    "text as number": ({"seed": np.array([b"1"], object)}, "INVALID_ARGUMENT", "seed: data-type is 'BYTES'"),
    "wrong shape": ({"steps": np.array([5, 5], np.int32)}, "INVALID_ARGUMENT", "steps: shape [2]; accepted: INT32"),
    "too many axes": ({"steps": np.array([[5]], np.int32)}, "INVALID_ARGUMENT", "steps: shape [1, 1]"),
    "unknown field": ({"cfg": 1.0}, "INVALID_ARGUMENT", "unexpected inference input 'cfg'"),
    "not a photo": ({"reference_image": b"GIF89a"}, "INVALID_ARGUMENT", "reference_image: not a picture"),
    "photo without concept": ({"concept": "", "reference_image": b"x"}, "INVALID_ARGUMENT", "reference_image: given"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_fields(call: Caller, case: str) -> None:
    fields, status, message = CASES[case]
    refusal = call.refused(**{**GOOD, **fields})
    assert (refusal.status, message in refusal.message) == (status, True), refusal
    assert_clean(refusal)


def test_a_prompt_is_needed(call: Caller) -> None:
    for fields in ({"steps": 1}, {}):
        refusal = call.refused(**fields)
        assert refusal.status == "INVALID_ARGUMENT"
        assert "prompt: missing" in refusal.message


def test_photos_that_lie(call: Caller) -> None:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(file, "PNG")
    for photo, message in (
        (file.getvalue()[: len(file.getvalue()) // 2], "reference_image: the picture is damaged"),
        (_large_png(), "reference_image: 9000 x 9000 pixels"),
        (bytes(8 * 2**20 + 1), "reference_image: 8388609 bytes"),
    ):
        refusal = call.refused(**GOOD, reference_image=photo)
        assert refusal.status == "INVALID_ARGUMENT"
        assert message in refusal.message
        assert_clean(refusal)


def _large_png() -> bytes:
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    return file.getvalue()


def test_damaged_and_foreign_packages(exported: Exported, server: Served, call: Caller) -> None:
    torn = exported.make_concept(server.registry, "torn")
    torn.write_bytes(torn.read_bytes()[:-100])
    altered = exported.make_concept(server.registry, "altered")
    content = bytearray(altered.read_bytes())
    content[-7] ^= 0x40
    altered.write_bytes(content)
    exported.make_concept(server.registry, "foreign", base="ef" * 32)
    (server.registry / "text.safetensors").write_text("not a package")
    for concept, words in (("torn", "truncated"), ("altered", "altered"), ("foreign", "another base"), ("text", "")):
        refusal = call.refused(prompt=PROMPT, concept=concept)
        # FAILED_PRECONDITION, as Triton can carry it
        assert refusal.status == "INVALID_ARGUMENT"
        assert refusal.message.endswith("[FAILED_PRECONDITION]")
        assert f"concept: '{concept}'" in refusal.message
        assert words in refusal.message
        assert_clean(refusal)


def test_a_new_a_replaced_and_a_removed_concept_without_a_restart(
    exported: Exported, server: Served, call: Caller
) -> None:
    assert call.refused(prompt=PROMPT, concept="fresh").status == "NOT_FOUND"
    path = exported.make_concept(server.registry, "fresh", seed=11)
    first = call(prompt=PROMPT, concept="fresh", steps=2)
    exported.make_concept(server.registry, "fresh", seed=12)
    second = call(prompt=PROMPT, concept="fresh", steps=2)
    assert first.info["concept"] != second.info["concept"]
    assert first.images != second.images
    assert call(prompt=PROMPT, concept=first.info["concept"], steps=2).images == first.images
    path.write_bytes(path.read_bytes()[:1000])
    stale = call(prompt=PROMPT, concept="fresh", steps=2)
    assert stale.images == second.images
    assert [warning["code"] for warning in stale.info["warnings"]] == ["concept_stale"]
    path.unlink()
    assert call.refused(prompt=PROMPT, concept="fresh").status == "NOT_FOUND"


def test_an_answer_after_all(call: Caller) -> None:
    assert isinstance(call.ask(**GOOD), Answer)
