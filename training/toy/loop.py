"""What both trainings share: learning-rate schedule, moving average, checkpoints, curve, progress bar."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@dataclass(frozen=True)
class Schedule:
    """A learning rate that warms up linearly, then falls as a cosine to `floor` times the peak."""

    peak: float
    warmup: int  # steps
    total: int  # steps
    floor: float = 0.02

    def rate(self, step: int) -> float:
        """The rate at `step` (0, 1, ...); stays at the floor past `total`."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        return self.peak * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2)


class MovingAverage:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module, step: int) -> None:
        """Takes in the parameters after `step`; early on the average follows closely."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.named_parameters():
            self.values[name].lerp_(value.detach(), 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: torch.nn.Module) -> None:
        """Overwrites the parameters of `module` with their averages."""
        for name, value in module.named_parameters():
            value.copy_(self.values[name])


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` so that `path` always holds a whole checkpoint, the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state saved at `path`, or None if there is none yet."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def append_curve(path: Path, **values: float | int | str) -> None:
    """Appends one JSON line to the training curve."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(values) + "\n")


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The values appended so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def set_rate(groups: list[dict[str, Any]], rate: float) -> None:
    """Sets the learning rate of an optimizer's parameter groups; a group's own ``scale`` multiplies it."""
    for group in groups:
        group["lr"] = rate * group.get("scale", 1.0)


def progress_bar(disable: bool = False) -> Progress:
    """A bar with a count, a note (field ``note``), time spent and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=disable,
    )
