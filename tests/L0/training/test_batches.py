from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.batches import BatchMaker
from training.templates import TEMPLATES
from vico.base import Base


def make_batches(base: Base, photos: int = 4) -> BatchMaker:
    latents = torch.arange(float(photos)).reshape(-1, 1, 1, 1).expand(photos, 4, 8, 8)
    return BatchMaker(base, latents, "*", vectors=1, batch_size=64, seed=0)


def test_reference_is_always_another_photo(tiny_base: Base) -> None:
    batch = make_batches(tiny_base).batch(0)
    assert batch.reference_latent.shape == (64, 1, 4, 8, 8)
    target, reference = batch.latent[:, 0, 0, 0], batch.reference_latent[:, 0, 0, 0, 0]
    assert (target != reference).all()
    assert set(target.tolist()) == set(reference.tolist()) == {0, 1, 2, 3}


def test_a_single_photo_is_its_own_reference(tiny_base: Base) -> None:
    batch = make_batches(tiny_base, photos=1).batch(0)
    assert torch.equal(batch.latent[:, None], batch.reference_latent)


def test_a_step_is_a_function_of_seed_step_and_process(tiny_base: Base) -> None:
    batches = make_batches(tiny_base)
    first, again = batches.batch(5), batches.batch(5)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.prompts.input_ids, again.prompts.input_ids)
    for other in (batches.batch(6), replace(batches, seed=1).batch(5), replace(batches, process=1).batch(5)):
        assert not torch.equal(first.noise, other.noise)
        assert not torch.equal(first.timestep, other.timestep)


def test_noise_and_timesteps_are_spread(tiny_base: Base) -> None:
    batch = make_batches(tiny_base).batch(0)
    assert abs(batch.noise.mean().item()) < 0.05
    assert abs(batch.noise.std().item() - 1) < 0.05
    assert batch.timestep.min() < 200
    assert batch.timestep.max() > 800
    assert batch.timestep.max() < 1000


def test_captions_hold_the_placeholder_once(tiny_base: Base) -> None:
    batch = make_batches(tiny_base).batch(0)
    assert (batch.prompts.placeholder_position > 0).all()
    assert (batch.prompts.placeholder_position[:, 0] < batch.prompts.end_of_text_position).all()


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_hold_one_place(template: str) -> None:
    assert template.count("{}") == 1
