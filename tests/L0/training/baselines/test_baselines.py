from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.photos import make_photos
from training.baselines.custom_diffusion import open_text_attention
from training.baselines.dreambooth_lora import DreamBoothLora, adapt, adapters
from training.baselines.method import Trained
from training.baselines.methods import METHODS, PLAIN, make_method
from training.evaluation.maker import SamplingSettings
from training.evaluation.subject import Subject, plain_subject
from vico.base import Base
from vico.pipeline import PictureRequest, generate_latents

SETTINGS = SamplingSettings("ddim", 2, 3.0)
SMALL = {"steps": 2, "batch_size": 2}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return plain_subject("disc", "toy", make_photos(tmp_path_factory.mktemp("photos")), None, 32)


@pytest.fixture
def guarded(tiny_base: Base) -> Iterator[Base]:
    """The base, proven untouched afterwards: its tensors, their names, its vocabulary and what it draws."""
    before, drawn, words = _tensors(tiny_base), _draw(tiny_base), len(tiny_base.tokenizer)
    yield tiny_base
    after = _tensors(tiny_base)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(drawn, _draw(tiny_base))
    assert len(tiny_base.tokenizer) == words
    networks = (tiny_base.unet, tiny_base.text_encoder, tiny_base.vae)
    assert not any(p.requires_grad or p.grad is not None for network in networks for p in network.parameters())


def _tensors(base: Base) -> dict[str, Tensor]:
    networks = {"unet": base.unet, "text_encoder": base.text_encoder, "vae": base.vae}
    return {f"{n}.{k}": v.clone() for n, network in networks.items() for k, v in network.state_dict().items()}


def _draw(base: Base) -> Tensor:
    return generate_latents(base, PictureRequest("a photo of a toy", seed=5, steps=2, sampler="ddim"))


def train(name: str, base: Base, subject: Subject, seconds: float = 1e9, **changes: Any) -> Trained:
    return make_method(name, base.path, SETTINGS, SMALL | changes).train(base, subject, 0, seconds)


def pixels(trained: Trained, seed: int = 3, template: str = "a photo of a {} on the beach") -> Any:
    (picture,) = trained.maker(template, [seed])
    assert picture.size == (32, 32)
    assert picture.mode == "RGB"
    return np.asarray(picture).copy()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_draws_and_leaves_the_base_alone(name: str, guarded: Base, subject: Subject) -> None:
    trained = train(name, guarded, subject)
    assert trained.steps == 2
    assert trained.parameters > 0
    assert trained.seconds > 0
    again = train(name, guarded, subject)
    assert np.array_equal(pixels(trained), pixels(trained))
    assert np.array_equal(pixels(trained), pixels(again))
    assert not np.array_equal(pixels(trained), pixels(trained, seed=4))
    assert not np.array_equal(pixels(trained), pixels(trained, template="a rendering of a {} in snow"))


@pytest.mark.parametrize("name", METHODS)
def test_time_that_is_spent_ends_the_training(name: str, tiny_base: Base, subject: Subject) -> None:
    trained = train(name, tiny_base, subject, seconds=0.0)
    assert trained.steps == 0
    pixels(trained)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("textual-inversion", {"token_lr": 0.5}),
        ("dreambooth-lora", {"lora_lr": 0.1}),
        ("custom-diffusion", {"attention_lr": 0.1}),
        ("custom-diffusion", {"token_lr": 1.0}),
    ],
)
def test_what_is_learned_reaches_the_picture(
    name: str, rates: dict[str, float], tiny_base: Base, subject: Subject
) -> None:
    learned, fresh = (train(name, tiny_base, subject, seconds, **rates) for seconds in (1e9, 0.0))
    assert not np.array_equal(pixels(learned), pixels(fresh))


def test_textual_inversion_begins_as_the_init_word(tiny_base: Base, subject: Subject) -> None:
    fresh = train("textual-inversion", tiny_base, subject, seconds=0.0)
    plain = make_method(PLAIN, tiny_base.path, SETTINGS).train(tiny_base, subject, 0, 1.0)
    assert np.abs(pixels(fresh).astype(int) - pixels(plain)).max() <= 1
    assert fresh.parameters == tiny_base.context_width
    assert train("textual-inversion", tiny_base, subject, vectors=2).parameters == 2 * tiny_base.context_width


def test_fresh_adapters_change_nothing(guarded: Base) -> None:
    method = make_method("dreambooth-lora", guarded.path, SETTINGS, {"text_encoder_rank": 2})
    assert isinstance(method, DreamBoothLora)
    torch.testing.assert_close(_draw(adapt(guarded, method.recipe_, 0)), _draw(guarded))


@pytest.mark.parametrize("text_rank", [0, 2])
def test_dreambooth_trains_adapters_only(text_rank: int, guarded: Base) -> None:
    method = make_method("dreambooth-lora", guarded.path, SETTINGS, {"text_encoder_rank": text_rank})
    assert isinstance(method, DreamBoothLora)
    adapted = adapt(guarded, method.recipe_, 0)
    trained = {id(p) for p in adapters(adapted)}
    named = [
        (f"{kind}.{name}", p)
        for kind, network in (("unet", adapted.unet), ("text", adapted.text_encoder))
        for name, p in network.named_parameters()
    ]
    assert {name for name, p in named if id(p) in trained} == {name for name, _ in named if "lora_" in name}
    assert any(name.startswith("text") for name, p in named if id(p) in trained) == bool(text_rank)


def test_custom_diffusion_opens_keys_and_values_of_the_text_only(tiny_base: Base) -> None:
    adapted = replace(tiny_base, unet=copy.deepcopy(tiny_base.unet))
    opened = open_text_attention(adapted)
    names = {name for name, p in adapted.unet.named_parameters() if p.requires_grad}
    assert len(names) == len(opened) > 0
    assert all(".attn2.to_k." in name or ".attn2.to_v." in name for name in names)
    assert all(p.shape[1] == tiny_base.context_width for p in opened)


@pytest.mark.parametrize(("name", "rate"), [("dreambooth-lora", "lora_lr"), ("custom-diffusion", "attention_lr")])
def test_prior_preservation_counts(name: str, rate: str, guarded: Base, subject: Subject) -> None:
    fast = {rate: 0.1}
    without = train(name, guarded, subject, class_pictures=0, **fast)
    with_prior = train(name, guarded, subject, class_pictures=3, **fast)
    weightless = train(name, guarded, subject, class_pictures=3, class_weight=0.0, **fast)
    assert not np.array_equal(pixels(without), pixels(with_prior))
    assert np.array_equal(pixels(without), pixels(weightless))


def test_a_base_given_by_its_folder_only(tiny_base_folder: Path) -> None:
    recipes = [make_method(name, tiny_base_folder, SETTINGS).recipe for name in ("vico", "vico-published")]
    assert recipes[0] != recipes[1]
    assert all("validation_steps" not in recipe for recipe in recipes)
