"""What every method of personalisation is to the comparison: photos in, a maker of pictures out."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
    seconds: float  # wall-clock time of the training, with everything it had to draw or encode first
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
        """Learn `subject.train` within `seconds` of wall-clock time; `base` is left bit for bit as it was."""


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
    """The time a method has, from the moment this is made."""

    budget: float  # seconds
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the start."""
        return time.monotonic() - self.started

    @property
    def spent(self) -> bool:
        """Nothing of the budget is left."""
        return self.seconds >= self.budget
