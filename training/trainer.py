"""One concept under training, step by step; it knows no files and no clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from training.average import Average
from training.batches import BatchMaker
from training.checkpoints import LossPoint
from training.concept_model import ConceptModel
from training.errors import TrainingError
from training.losses import objective_at
from training.recipe import Recipe, Schedule


class Trainer:
    """Takes steps; everything a step depends on is in model, optimiser, average, and the step's number.

    Without an accelerator it trains where the base is, in its precision.
    """

    def __init__(self, model: ConceptModel, batches: BatchMaker, recipe: Recipe) -> None:
        self.model = model
        self.optimizer: torch.optim.Optimizer = make_optimizer(model, recipe)
        self.average = Average(model, recipe.ema) if recipe.ema else None
        self._batches, self._recipe = batches, recipe
        self._forward: Callable[..., Any] = model
        self._stepper: Any = self.optimizer
        self._accelerator: Accelerator | None = None

    def prepare(self, accelerator: Accelerator) -> None:
        """Train under `accelerator`; a checkpoint is loaded before."""
        self._forward, self._stepper = accelerator.prepare(self.model, self.optimizer)
        self.optimizer = getattr(self._stepper, "optimizer", self._stepper)
        self._accelerator = accelerator

    def step(self, step: int) -> LossPoint:
        """Take step number `step`, from 0.

        Raises:
            TrainingError: the loss is not finite.
        """
        recipe, accelerator = self._recipe, self._accelerator
        rates = (recipe.token_lr * token_rate_factor(recipe, step), recipe.block_lr * rate_factor(recipe, step))
        for group, rate in zip(self._stepper.param_groups, rates, strict=True):
            group["lr"] = rate
        objective = objective_at(recipe, step)
        mixed = accelerator is not None and accelerator.mixed_precision != "no"
        with accelerator.autocast() if accelerator is not None and mixed else nullcontext():
            losses = self._forward(self._batches.batch(step), recipe.regulariser_weight, objective)
        _require_finite(losses.total, step)
        self._descend(losses.total)
        if not objective.token_frozen:
            self.model.hold_token(rates[0] * recipe.token_decay, norm=recipe.token_norm)
        if self.average is not None:
            self.average.update()
        return LossPoint(step, losses.noise.item(), losses.regulariser.item())

    def finish(self) -> None:
        """Leave in the model what is to be drawn from and packed."""
        if self.average is not None:
            self.average.apply()

    def _descend(self, loss: Tensor) -> None:
        parameters, clip = list(self.model.parameters()), self._recipe.max_grad_norm
        if self._accelerator is None:
            torch.autograd.backward(loss)
            if clip:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
        else:
            self._accelerator.backward(loss)
            if clip:
                self._accelerator.clip_grad_norm_(parameters, clip)
        self._stepper.step()
        self._stepper.zero_grad()


def make_optimizer(model: ConceptModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with a rate for the token and one for the blocks."""
    groups = [
        {"params": [model.token_embedding], "lr": recipe.token_lr},
        {"params": list(model.blocks.parameters()), "lr": recipe.block_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def rate_factor(recipe: Recipe, step: int) -> float:
    """Share of the full learning rates at a step: linear warm-up, then constant or half a cosine down to 0."""
    return _factor(recipe.lr_schedule, recipe.steps, recipe, step)


def token_rate_factor(recipe: Recipe, step: int) -> float:
    """As `rate_factor`, for the token: its own schedule, over the steps in which it is trained."""
    return _factor(recipe.token_lr_schedule or recipe.lr_schedule, recipe.token_steps or recipe.steps, recipe, step)


def _factor(schedule: Schedule, steps: int, recipe: Recipe, step: int) -> float:
    warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    if schedule == "constant":
        return warm
    return warm * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))


def _require_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingError("loss", f"it is {loss.item()} at step {step}", "lower learning rates in the recipe")
