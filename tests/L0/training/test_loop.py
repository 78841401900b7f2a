from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from training.batches import BatchMaker
from training.checkpoints import LossPoint
from training.concept_model import ConceptModel, initial_embedding
from training.errors import TrainingError
from training.masks import mask_pictures, veil
from training.recipe import Recipe
from training.report import loss_curve
from training.trainer import make_optimizer, rate_factor
from vico.base import Base

RECIPE = Recipe(name="test", steps=100, batch_size=4, token_lr=5e-3, block_lr=1e-3)


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    AcceleratorState._reset_state()


def make_model(base: Base, *, zero_init: bool = True) -> ConceptModel:
    return ConceptModel(base, "toy", vectors=1, zero_init=zero_init, seed=0)


def make_batches(base: Base) -> BatchMaker:
    torch.manual_seed(0)
    return BatchMaker(base, torch.randn(3, 4, 16, 16), "*", vectors=1, batch_size=4, seed=0)


def test_only_token_and_blocks_are_trained(tiny_base: Base) -> None:
    model = make_model(tiny_base)
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"token_embedding", "blocks"}
    model(make_batches(tiny_base).batch(0), 5e-4).total.backward()
    assert model.token_embedding.grad is not None
    assert all(p.grad is None for n in (tiny_base.unet, tiny_base.text_encoder) for p in n.parameters())


def test_with_zeroed_blocks_the_first_loss_is_the_base_alone(tiny_base: Base) -> None:
    model, batch = make_model(tiny_base), make_batches(tiny_base).batch(0)
    losses = model(batch, 0.0)
    signal, spread = model.signal[batch.timestep], model.spread[batch.timestep]
    noisy = signal[:, None, None, None] * batch.latent + spread[:, None, None, None] * batch.noise
    ids = batch.prompts.input_ids.clone()
    ids.scatter_(1, batch.prompts.placeholder_position, tiny_base.encode_text("toy")[0])
    context = tiny_base.text_encoder(ids).last_hidden_state
    expected = torch.nn.functional.mse_loss(tiny_base.unet(noisy, batch.timestep, context).sample, batch.noise)
    torch.testing.assert_close(losses.total, expected)
    assert losses.regulariser > 0


def test_regulariser_is_weighted(tiny_base: Base) -> None:
    model, batch = make_model(tiny_base), make_batches(tiny_base).batch(0)
    losses = model(batch, 0.25)
    torch.testing.assert_close(losses.total, losses.noise + 0.25 * losses.regulariser)


def test_learning_lowers_the_loss_of_a_fixed_batch(tiny_base: Base) -> None:
    model, batch = make_model(tiny_base), make_batches(tiny_base).batch(0)
    optimizer = make_optimizer(model, RECIPE)
    values = []
    for _ in range(12):
        losses = model(batch, 5e-4)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(losses.total.item())
    assert values[-1] < values[0]


def test_token_and_blocks_have_their_own_rates(tiny_base: Base) -> None:
    groups = make_optimizer(make_model(tiny_base), RECIPE).param_groups
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in groups] == [(5e-3, 0.01, 1), (1e-3, 0.01, 40)]


def test_schedules() -> None:
    assert rate_factor(RECIPE, 0) == rate_factor(RECIPE, 99) == 1
    cosine = Recipe(**{**RECIPE.__dict__, "lr_schedule": "cosine", "warmup_steps": 10})
    assert rate_factor(cosine, 0) == pytest.approx(0.1)
    assert rate_factor(cosine, 50) == pytest.approx(0.5)
    assert rate_factor(cosine, 99) < 0.01


def test_a_word_of_several_tokens_begins_at_their_mean(tiny_base: Base) -> None:
    table = tiny_base.text_encoder.get_input_embeddings().weight
    ids = tiny_base.encode_text("red teapot")
    assert torch.equal(initial_embedding(tiny_base, "red teapot"), table[torch.tensor(ids)].mean(0))
    with pytest.raises(TrainingError, match="init word"):
        initial_embedding(tiny_base, "")


def test_masks_are_drawn_for_every_photo_and_site(tiny_base: Base) -> None:
    concept = make_model(tiny_base).concept("*", torch.randn(1, 4, 16, 16))
    photos = [Image.new("RGB", (32, 32), "white")] * 2
    rows = mask_pictures(tiny_base, concept, photos, torch.randn(2, 4, 16, 16))
    assert [[p.size for p in row] for row in rows] == [[(32, 32)] * 2] * 2


def test_veil_darkens_what_is_dropped() -> None:
    mask = np.array([[True, False]])
    pixels = np.asarray(veil(Image.new("RGB", (4, 2), "white"), mask))
    assert pixels[:, :2].min() == 255
    assert pixels[:, 2:].max() < 80


def test_loss_curve_has_a_dot_per_step() -> None:
    assert loss_curve([LossPoint(i, math.exp(-i), 0) for i in range(30)]).count("<circle") == 30
    assert "No step" in loss_curve([])
    assert "circle" in loss_curve([LossPoint(0, 0.0, 0)])
