"""What every method of personalisation is to the comparison: photos in, a maker of pictures out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from training.baselines.recipe import R
from training.evaluation.maker import PictureMaker, SamplingSettings
from training.evaluation.subject import Subject
from vico.base import Base


@dataclass(frozen=True)
class Trained:
    """A thing as a method has learned it."""

    maker: PictureMaker
    seconds: float  # of the training on a `Stopwatch`, with everything it had to draw or encode first
    steps: int  # done; fewer than the recipe's where the time ran out
    parameters: int  # numbers that were trained


class Method(Protocol):
    """A way to teach a base a thing."""

    @property
    def name(self) -> str:
        """As in the tables."""

    @property
    def version(self) -> int:
        """Goes up when the method's code would train something else from the same recipe."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Everything else that decides the result, as plain JSON values."""

    def train(self, base: Base, subject: Subject, seed: int, seconds: float) -> Trained:
        """Learn `subject.train` within `seconds` on a `Stopwatch`; `base` is left bit for bit as it was."""


@dataclass(frozen=True)
class Baseline(Generic[R]):
    """What a baseline is made of: its recipe, which has its name, and how its pictures are drawn."""

    recipe_: R
    settings: SamplingSettings
    version: int = 1

    @property
    def name(self) -> str:
        """As in the tables."""
        return self.recipe_.name

    @property
    def recipe(self) -> dict[str, Any]:
        """As plain JSON values."""
        return self.recipe_.model_dump(mode="json")


@dataclass(frozen=True)
class Stopwatch:
    """The time a method has, from the moment this is made.

    Without CUDA it is the CPU time of the process: for one thread on an idle machine the same as wall-clock time, and
    on a busy one the only fair share-out, since neighbours slow down wall-clock time of one pair and not of the next.
    With CUDA the CPU time says nothing about the work, so that wall-clock time is what counts.
    """

    budget: float  # seconds
    clock: Callable[[], float] = field(default_factory=lambda: time.monotonic if _on_cuda() else time.process_time)
    started: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "started", self.clock())

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    @property
    def spent(self) -> bool:
        """Nothing of the budget is left."""
        return self.seconds >= self.budget


def _on_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
