"""A run that was cut off goes on bit for bit, whatever the recipe's options."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.helpers.photos import noise_pictures
from training.errors import CheckpointError
from training.loop import RunSettings, train_concept
from training.recipe import Recipe
from training.setup import set_up
from vico.base import Base

STEPS = 3
OPTIONS = st.fixed_dictionaries(
    {
        "reference_context": st.sampled_from(["prompt", "concept"]),
        "train_references": st.integers(1, 2),
        "min_snr_gamma": st.sampled_from([0.0, 5.0]),
        "masked_loss": st.sampled_from([1.0, 0.3]),
        "regulariser": st.sampled_from(["published", "mean", "none"]),
        "caption_drop": st.sampled_from([0.0, 0.5]),
        "image_dropout": st.sampled_from([0.0, 0.5]),
        "timestep": st.sampled_from(["uniform", "stratified", "high_noise"]),
        "augmentations": st.integers(0, 2),
        "ema": st.sampled_from([0.0, 0.98]),
        "token_norm": st.booleans(),
        "token_decay": st.sampled_from([0.0, 10.0]),
        "token_steps": st.sampled_from([0, 1, 2]),
        "detach": st.booleans(),
        "sites": st.sampled_from([(), (1,)]),
        "lr_schedule": st.sampled_from(["constant", "cosine"]),
        "token_lr_schedule": st.sampled_from([None, "cosine"]),
        "vectors": st.integers(1, 2),
    }
)


def train(base: Base, folder: Path, recipe: Recipe, *, resume: bool = False) -> dict[str, torch.Tensor]:
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer, _ = set_up(base, recipe, noise_pictures(3), "toy")
    untrained = [p.requires_grad for network in (base.unet, base.text_encoder, base.vae) for p in network.parameters()]
    assert not any(untrained)
    train_concept(
        trainer,
        recipe,
        RunSettings(folder, {"of": "a test"}, resume),
        Accelerator(cpu=True),
        Console(file=io.StringIO()),
    )
    assert all(p.grad is None for network in (base.unet, base.text_encoder) for p in network.parameters())
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def recipe_of(options: dict[str, Any], **fields: Any) -> Recipe:
    return Recipe(
        name="test", steps=STEPS, batch_size=2, token_lr=5e-3, block_lr=1e-3, checkpoint_every=1, **options, **fields
    )


@given(options=OPTIONS, done=st.integers(1, STEPS - 1))
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_resumed_equals_uninterrupted(
    tiny_base: Base, tmp_path_factory: pytest.TempPathFactory, options: dict[str, Any], done: int
) -> None:
    recipe = recipe_of(options)
    whole = train(tiny_base, tmp_path_factory.mktemp("whole"), recipe)
    folder = tmp_path_factory.mktemp("halves")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.loop._due", _stopping_at(done))
        with pytest.raises(KeyboardInterrupt):
            train(tiny_base, folder, recipe)
    resumed = train(tiny_base, folder, recipe, resume=True)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name


def _stopping_at(done: int) -> Any:
    """As `training.loop._due` with a checkpoint every step, and a cut after the one of step `done`."""

    def due(step: int, every: int, total: int) -> bool:
        if step > done:
            raise KeyboardInterrupt
        return True

    return due


def test_an_average_that_the_checkpoint_lacks_is_named(tiny_base: Base, tmp_path: Path) -> None:
    train(tiny_base, tmp_path, recipe_of({}))
    with pytest.raises(CheckpointError, match="without an average"):
        train(tiny_base, tmp_path, replace(recipe_of({}), ema=0.9), resume=True)
