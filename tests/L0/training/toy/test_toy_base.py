"""The committed base: loads, has the promised sites, draws pictures; the sample photos are complete."""

import json
from typing import Any

import diffusers
import numpy as np
import pytest
from PIL import Image

from training.toy.parts import DDIMScheduler
from training.toy.paths import BASE, PHOTOS
from training.toy.vocabulary import HELD_OUT, THINGS, HeldOut

needs_base = pytest.mark.skipif(not (BASE / "model_index.json").exists(), reason="assets/toy-base is not built yet")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    base = diffusers.StableDiffusionPipeline.from_pretrained(BASE, safety_checker=None)
    base.set_progress_bar_config(disable=True)
    return base


@needs_base
def test_the_base_draws_a_picture(pipeline: Any) -> None:
    picture = pipeline("a photo of a strawberry on a wooden table", num_inference_steps=2, output_type="np").images[0]
    assert picture.shape == (64, 64, 3)
    assert np.isfinite(picture).all()


@needs_base
def test_every_scheduler_of_the_family_can_be_made_from_the_configuration(pipeline: Any) -> None:
    config = DDIMScheduler.from_config(pipeline.scheduler.config).config
    assert (config.beta_start, config.beta_end, config.beta_schedule) == (0.00085, 0.012, "scaled_linear")
    assert config.steps_offset == 1
    assert config.clip_sample is False
    assert config.set_alpha_to_one is False
    assert config.prediction_type == "epsilon"


@needs_base
def test_three_odd_decoder_transformers_at_two_or_more_resolutions(pipeline: Any) -> None:
    widths = [
        attention.config.in_channels if hasattr(attention, "config") else block.resnets[0].out_channels
        for block in pipeline.unet.up_blocks
        for attention in getattr(block, "attentions", [])
    ]
    assert len(widths[1::2]) >= 3
    assert len(set(widths[1::2])) >= 2


@needs_base
def test_size_and_scale() -> None:
    assert sum(path.stat().st_size for path in BASE.rglob("*.safetensors")) < 40e6
    assert json.loads((BASE / "vae" / "config.json").read_text())["scaling_factor"] == pytest.approx(0.18215)
    assert set(json.loads((BASE / "held-out-pairs.json").read_text())) == {thing.name for thing in THINGS}


@pytest.mark.parametrize("entry", HELD_OUT, ids=[entry.concept for entry in HELD_OUT])
def test_sample_photos(entry: HeldOut) -> None:
    listed = {item["id"]: item for item in json.loads((PHOTOS / "concepts.json").read_text())}[entry.concept]
    assert len(listed["train"]) == 5
    assert len(listed["heldout"]) == 3
    assert listed["licence"].startswith("CC")
    for name in listed["train"] + listed["heldout"]:
        assert Image.open(PHOTOS / entry.concept / name).size == (256, 256)
