"""The training loop: a few steps a second, a bar, checkpoints, and pictures on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

from training.checkpoints import Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from training.errors import CheckpointError
from training.events import StepTaken, Watch, unwatched
from training.recipe import Recipe
from training.trainer import Trainer

_SMOOTHING = 0.9


@dataclass(frozen=True)
class RunSettings:
    """Where a run keeps its state, and which run it is."""

    folder: Path  # checkpoints and validation pictures
    run: dict[str, Any]  # identity of the run: a checkpoint of another is refused
    resume: bool = False


def train_concept(
    trainer: Trainer,
    recipe: Recipe,
    settings: RunSettings,
    accelerator: Accelerator,
    console: Console,
    on_validation: Callable[[int], None] | None = None,
    watch: Watch = unwatched,
) -> Progress:
    """Take `trainer` through `recipe.steps` steps (fewer where a checkpoint is resumed); returns what was seen.

    Validation sees, and the end leaves in the model, what is to be packed: the average where the recipe keeps one.

    Raises:
        CheckpointError: `settings.resume` and no fitting checkpoint.
        TrainingError: the loss is not finite.
    """
    progress = _start(trainer, settings)
    trainer.prepare(accelerator)
    started = time.monotonic() - progress.seconds
    with _bar(console, disable=not accelerator.is_main_process) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=progress.step, loss="")
        smooth = math.nan
        for step in range(progress.step, recipe.steps):
            point = trainer.step(step)
            smooth = point.noise if math.isnan(smooth) else _SMOOTHING * smooth + (1 - _SMOOTHING) * point.noise
            progress = Progress(step + 1, (*progress.losses, point), time.monotonic() - started)
            bar.update(task, completed=step + 1, loss=f"loss {smooth:.4f}")
            if not accelerator.is_main_process:
                continue
            watch(StepTaken(step + 1, recipe.steps, smooth, progress.seconds))
            if _due(step + 1, recipe.checkpoint_every, recipe.steps):
                save_checkpoint(
                    settings.folder, trainer.model, trainer.optimizer, progress, settings.run, trainer.average
                )
            if on_validation is not None and _due(step + 1, recipe.validation_every, recipe.steps):
                with _as_packed(trainer):
                    on_validation(step + 1)
    trainer.finish()
    return progress


def _start(trainer: Trainer, settings: RunSettings) -> Progress:
    if not settings.resume:
        return Progress(0, (), 0.0)
    checkpoint = latest_checkpoint(settings.folder)
    if checkpoint is None:
        raise CheckpointError("resume", "there is no checkpoint", "a run that was begun with the same --out")
    return load_checkpoint(checkpoint, trainer.model, trainer.optimizer, settings.run, trainer.average)


def _as_packed(trainer: Trainer) -> AbstractContextManager[None]:
    return nullcontext() if trainer.average is None else trainer.average.applied()


def _due(done: int, every: int, total: int) -> bool:
    return done % every == 0 or done == total


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
