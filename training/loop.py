"""The training loop: a few steps a second, a bar, checkpoints, and pictures on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)
from torch import Tensor, nn

from training.batches import BatchMaker
from training.checkpoints import LossPoint, Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from training.concept_model import ConceptModel
from training.errors import CheckpointError, TrainingError
from training.recipe import Recipe

_SMOOTHING = 0.9


@dataclass(frozen=True)
class RunSettings:
    """Where a run keeps its state, and which run it is."""

    folder: Path  # checkpoints and validation pictures
    run: dict[str, Any]  # identity of the run: a checkpoint of another is refused
    resume: bool = False


def train_concept(
    model: ConceptModel,
    batches: BatchMaker,
    recipe: Recipe,
    settings: RunSettings,
    accelerator: Accelerator,
    console: Console,
    on_validation: Callable[[int], None] | None = None,
) -> Progress:
    """Train `model` in place for `recipe.steps` steps (fewer where a checkpoint is resumed); returns what was seen.

    Raises:
        CheckpointError: `settings.resume` and no fitting checkpoint.
        TrainingError: the loss is not finite.
    """
    optimizer = make_optimizer(model, recipe)
    progress = _start(model, optimizer, settings)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    started = time.monotonic() - progress.seconds
    with _bar(console, disable=not accelerator.is_main_process) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=progress.step, loss="")
        smooth = math.nan
        for step in range(progress.step, recipe.steps):
            point = _step(wrapped, optimizer, batches, recipe, accelerator, step)
            smooth = point.noise if math.isnan(smooth) else _SMOOTHING * smooth + (1 - _SMOOTHING) * point.noise
            progress = Progress(step + 1, (*progress.losses, point), time.monotonic() - started)
            bar.update(task, completed=step + 1, loss=f"loss {smooth:.4f}")
            if not accelerator.is_main_process:
                continue
            if _due(step + 1, recipe.checkpoint_every, recipe.steps):
                save_checkpoint(settings.folder, model, _plain(optimizer), progress, settings.run)
            if on_validation is not None and _due(step + 1, recipe.validation_every, recipe.steps):
                on_validation(step + 1)
    return progress


def make_optimizer(model: ConceptModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with a rate for the token and one for the blocks."""
    groups = [
        {"params": [model.token_embedding], "lr": recipe.token_lr},
        {"params": list(model.blocks.parameters()), "lr": recipe.block_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def rate_factor(recipe: Recipe, step: int) -> float:
    """Share of the full learning rates at a step: linear warm-up, then constant or half a cosine down to 0."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    if recipe.lr_schedule == "constant":
        return warm
    return warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def _start(model: ConceptModel, optimizer: torch.optim.Optimizer, settings: RunSettings) -> Progress:
    if not settings.resume:
        return Progress(0, (), 0.0)
    checkpoint = latest_checkpoint(settings.folder)
    if checkpoint is None:
        raise CheckpointError("resume", "there is no checkpoint", "a run that was begun with the same --out")
    return load_checkpoint(checkpoint, model, optimizer, settings.run)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: BatchMaker,
    recipe: Recipe,
    accelerator: Accelerator,
    step: int,
) -> LossPoint:
    factor = rate_factor(recipe, step)
    for group, rate in zip(optimizer.param_groups, (recipe.token_lr, recipe.block_lr), strict=True):
        group["lr"] = rate * factor
    with accelerator.autocast() if accelerator.mixed_precision != "no" else nullcontext():
        losses = model(batches.batch(step), recipe.regulariser_weight)
    _require_finite(losses.total, step)
    accelerator.backward(losses.total)
    if recipe.max_grad_norm:
        accelerator.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return LossPoint(step, losses.noise.item(), losses.regulariser.item())


def _require_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingError("loss", f"it is {loss.item()} at step {step}", "lower learning rates in the recipe")


def _due(done: int, every: int, total: int) -> bool:
    return done % every == 0 or done == total


def _plain(optimizer: Any) -> torch.optim.Optimizer:
    """The optimiser inside accelerate's wrapper."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner


def _bar(console: Console, *, disable: bool) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=disable,
    )
