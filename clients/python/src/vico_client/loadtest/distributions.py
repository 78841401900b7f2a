"""Values drawn at random, as a workload file writes them.

steps = 25                                            always 25
steps = {choice = [8, 25], weights = [1, 3]}          25 three times as often as 8
image_guidance = {uniform = [0.5, 1.0]}               two whole numbers: whole numbers, both ends included
deadline = {lognormal = {median = 10, sigma = 0.5, low = 2, high = 60}}
"""

# No `from __future__ import annotations`: pydantic reads these annotations, on Python 3.9 too.
import math
from typing import Annotated, Any, Optional, Union

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

Number = Union[int, float]
Scalar = Union[int, float, str, list[int]]  # a list is a size: [height, width]


class Frozen(BaseModel):
    """A value that nobody changes, and whose file may hold no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Choice(Frozen):
    """One of `choice`, in proportion to `weights` (equal without)."""

    choice: list[Scalar] = Field(min_length=1)
    weights: Optional[list[Number]] = None

    @model_validator(mode="after")
    def _weights_fit(self) -> "Choice":
        if self.weights is None:
            return self
        if len(self.weights) != len(self.choice):
            raise ValueError(f"{len(self.weights)} weights for {len(self.choice)} values")
        if not all(0 <= weight < math.inf for weight in self.weights) or not sum(self.weights) > 0:
            raise ValueError("weights must be finite, not negative, and not all 0")
        return self

    def draw(self, random: np.random.Generator) -> Scalar:
        """One value."""
        weights = None if self.weights is None else np.array(self.weights, float) / sum(self.weights)
        return self.choice[int(random.choice(len(self.choice), p=weights))]

    def support(self) -> list[Scalar]:
        """Values that stand for all that can be drawn."""
        return self.choice


class Uniform(Frozen):
    """Between two numbers, equally likely; whole numbers where both ends are whole."""

    uniform: tuple[Number, Number]

    @field_validator("uniform", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _ordered(self) -> "Uniform":
        low, high = self.uniform
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"{low} … {high} is not a finite range")
        return self

    def draw(self, random: np.random.Generator) -> Number:
        """One value."""
        low, high = self.uniform
        if isinstance(low, int) and isinstance(high, int):
            return int(random.integers(low, high, endpoint=True))
        return float(random.uniform(low, high))

    def support(self) -> list[Scalar]:
        """Values that stand for all that can be drawn."""
        return list(self.uniform)


class LogNormalParameters(Frozen):
    """median: in the value's own unit; sigma: of the logarithm; what falls outside low … high is moved to the edge."""

    median: Number = Field(gt=0, allow_inf_nan=False)
    sigma: Number = Field(ge=0, allow_inf_nan=False)
    low: Number = Field(default=0, ge=0)
    high: Number = math.inf

    @model_validator(mode="after")
    def _ordered(self) -> "LogNormalParameters":
        if not self.low <= self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class LogNormal(Frozen):
    """Positive, with a long tail: durations and sizes as people make them."""

    lognormal: LogNormalParameters

    def draw(self, random: np.random.Generator) -> float:
        """One value."""
        given = self.lognormal
        value = given.median * math.exp(given.sigma * float(random.standard_normal()))
        return float(min(max(value, given.low), given.high))

    def support(self) -> list[Scalar]:
        """Values that stand for all that can be drawn."""
        return [float(self.lognormal.median)]


_FORMS = {"choice": Choice, "uniform": Uniform, "lognormal": LogNormal}


def _form(value: Any) -> Optional[str]:
    """Which of the forms was meant, so that a mistake is explained in its terms; None is refused with all of them."""
    if isinstance(value, dict):
        return next((name for name in _FORMS if name in value), None)
    return next((name for name, form in _FORMS.items() if isinstance(value, form)), "value")


Distribution = Annotated[
    Union[
        Annotated[Scalar, Tag("value")],
        Annotated[Choice, Tag("choice")],
        Annotated[Uniform, Tag("uniform")],
        Annotated[LogNormal, Tag("lognormal")],
    ],
    Discriminator(
        _form,
        custom_error_type="distribution",
        custom_error_message="a table needs one of the keys choice, uniform, lognormal",
    ),
]


def draw(distribution: Distribution, random: np.random.Generator) -> Scalar:
    """One value; a plain value stands for itself."""
    if isinstance(distribution, (Choice, Uniform, LogNormal)):
        return distribution.draw(random)
    return distribution


def support(distribution: Distribution) -> list[Scalar]:
    """Values that stand for all that `draw` can give."""
    if isinstance(distribution, (Choice, Uniform, LogNormal)):
        return distribution.support()
    return [distribution]
