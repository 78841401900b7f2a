"""The training loop that the baselines share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.baselines.examples import Examples
from training.baselines.method import Stopwatch
from training.baselines.recipe import BaselineRecipe
from training.errors import TrainingError
from vico.base import Base
from vico.unet import predict_noise


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters with a learning rate of their own."""

    parameters: Sequence[nn.Parameter]
    rate: float


def fit(recipe: BaselineRecipe, groups: Sequence[Group], loss: Callable[[int], Tensor], watch: Stopwatch) -> int:
    """Lower `loss(step)` for the recipe's steps, or until the time is spent; returns the steps done.

    The learning rate's course is laid over all steps, also where time cuts them short.

    Raises:
        TrainingError: the loss is not finite.
    """
    from diffusers.optimization import get_scheduler

    everything = [parameter for group in groups for parameter in group.parameters]
    optimizer = torch.optim.AdamW(
        [{"params": list(group.parameters), "lr": group.rate} for group in groups], weight_decay=recipe.weight_decay
    )
    # diffusers calls a constant rate after a warm-up by another name
    course = "constant_with_warmup" if recipe.lr_schedule == "constant" else recipe.lr_schedule
    schedule = get_scheduler(course, optimizer, recipe.warmup_steps, recipe.steps)
    for step in range(recipe.steps):
        if watch.spent:
            return step
        value = loss(step)
        if not torch.isfinite(value):
            raise TrainingError("loss", f"it is {value.item()} at step {step}", "lower learning rates in the recipe")
        torch.autograd.backward(value)
        if recipe.max_grad_norm:
            nn.utils.clip_grad_norm_(everything, recipe.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return recipe.steps


def noise_error(base: Base, examples: Examples, context: Tensor) -> Tensor:
    """Mean squared error of ε (DDPM, arXiv 2006.11239, equation 14) under context [B, 77, D]; a scalar."""
    predicted = predict_noise(base.unet, examples.noisy, examples.timestep, context)
    return F.mse_loss(predicted.float(), examples.noise.float())


def count(groups: Iterable[Group]) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for group in groups for parameter in group.parameters)
