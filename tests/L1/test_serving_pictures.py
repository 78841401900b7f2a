"""The picture that comes out of the server is the one that the torch pipeline makes."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from served import Caller, Served

from vico.concept import Manifest, read_package, write_package

if TYPE_CHECKING:
    from conftest import Exported

    from vico.base import Base

PROMPT = "a photo of a * on the beach"


def psnr(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """Decibels, for 8-bit pictures; infinite when equal."""
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def from_torch(base: Base, server: Served, **fields: Any) -> npt.NDArray[np.uint8]:
    from vico.loaded_concept import load_concept
    from vico.pipeline import PictureRequest, generate

    name = fields.pop("concept", None)
    concept = load_concept(base, read_package(server.registry / f"{name}.safetensors")) if name else None
    return np.stack([np.asarray(image) for image in generate(base, PictureRequest(**fields), concept)])


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread() -> None:
    """Beside a server on the same cores, torch's spinning threads would take minutes for these small networks."""
    import torch

    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "a red toy on grass", "seed": 7},
        {"prompt": PROMPT, "concept": "toy", "seed": 8, "num_images": 3},
        {"prompt": PROMPT, "concept": "toy", "sampler": "ddim", "steps": 11, "negative_prompt": "a dog"},
        {"prompt": PROMPT, "concept": "toy", "guidance_scale": 1.0, "height": 48, "width": 20, "image_guidance": 0.5},
        {"prompt": "a * toy", "concept": "several", "steps": 8},
        {"prompt": PROMPT, "concept": "fixed", "negative_prompt": "a dog", "num_images": 2},
        {"prompt": "* in the snow", "concept": "fixed", "guidance_scale": 1.0, "sampler": "ddim"},
        {"prompt": PROMPT, "concept": "plain-negative", "steps": 5},
    ],
    ids=[
        "plain",
        "concept",
        "ddim",
        "no-guidance",
        "several-references",
        "fixed-context",
        "fixed-no-guidance",
        "plain-negative",
    ],
)
def test_pictures_equal_the_torch_pipeline(
    exported: Exported, tiny_base: Base, server: Served, call: Caller, fields: dict[str, Any]
) -> None:
    _add_several_references(exported, server)
    exported.make_concept(server.registry, "fixed", seed=5, reference_context="concept")
    exported.make_concept(server.registry, "plain-negative", seed=6, negative_image_guidance=0.0)
    decibels = psnr(call(**fields).pixels(), from_torch(tiny_base, server, **fields))
    print(f"PSNR {decibels:.1f} dB")
    assert decibels >= 40


def _add_several_references(exported: Exported, server: Served) -> None:
    """A concept with three references."""
    package = read_package(exported.make_concept(server.registry, "several", seed=4))
    random = np.random.default_rng(0).standard_normal((3, *package.references.shape[1:])).astype(np.float32)
    manifest: Manifest = replace(package.manifest, tensors={})
    write_package(server.registry / "several.safetensors", manifest, {**package.tensors, "references": random})


def test_the_same_request_gives_the_same_picture(call: Caller) -> None:
    fields = {"prompt": PROMPT, "concept": "toy", "steps": 5, "seed": 3}
    assert call(**fields).images == call(**fields).images
    assert call(**{**fields, "seed": 4}).images != call(**fields).images


def test_info_tells_what_was_made(call: Caller) -> None:
    info = call(prompt=PROMPT, concept="toy", steps=3, seed=2**63 - 1, width=40).info
    assert info["concept"].startswith("toy@")
    assert set(info["timings"]) == {"text_encoder", "image_encoder", "unet_loop", "vae_decoder"}
    made = {name: info[name] for name in ("seed", "steps", "sampler", "height", "width", "warnings")}
    assert made == {
        "seed": 2**63 - 1, "steps": 3, "sampler": "dpmpp_2m", "height": 32, "width": 40, "warnings": [],
    }  # fmt: skip


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp", "raw"])
def test_formats(call: Caller, output_format: str) -> None:
    [image] = call(prompt="a", steps=1, output_format=output_format, height=16, width=24).images
    if output_format == "raw":
        assert len(image) == 16 * 24 * 3
    else:
        opened = Image.open(io.BytesIO(image))
        assert (opened.format, opened.size) == (output_format.upper(), (24, 16))


def test_a_reference_photo_changes_the_picture(call: Caller) -> None:
    file = io.BytesIO()
    Image.effect_noise((90, 60), 80).convert("RGB").save(file, "JPEG")
    fields = {"prompt": PROMPT, "concept": "toy", "steps": 3}
    assert call(**fields, reference_image=file.getvalue()).images != call(**fields).images


def test_with_a_fixed_context_a_reference_photo_works_the_same_way(
    exported: Exported, tiny_base: Base, server: Served, call: Caller
) -> None:
    from vico.loaded_concept import load_concept
    from vico.pipeline import PictureRequest, encode_pictures, generate

    package = read_package(exported.make_concept(server.registry, "fixed", seed=5, reference_context="concept"))
    photo = Image.effect_noise((32, 32), 80).convert("RGB")
    file = io.BytesIO()
    photo.save(file, "PNG")
    concept = replace(load_concept(tiny_base, package), references=encode_pictures(tiny_base, [photo]))
    expected = generate(tiny_base, PictureRequest(PROMPT, steps=4), concept)[0]
    made = call(prompt=PROMPT, concept="fixed", steps=4, reference_image=file.getvalue()).pixels()
    assert psnr(made, np.asarray(expected)[None]) >= 40


def test_a_long_prompt_is_cut_with_a_warning(call: Caller) -> None:
    [warning] = call(prompt="a * " + "very " * 100, concept="toy", steps=1).info["warnings"]
    assert warning["code"] == "prompt_truncated"


def test_pictures_asked_for_at_the_same_time_are_those_asked_for_alone(call: Caller, server: Served) -> None:
    from concurrent.futures import ThreadPoolExecutor

    asked = [{"prompt": PROMPT, "concept": "toy", "steps": 3, "seed": seed} for seed in range(6)]
    alone = [call(**fields).images for fields in asked]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda fields: Caller(server.address)(**fields).images, asked))
    assert together == alone
