"""One step of a sampler as numbers: all that a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.float64]
W = TypeVar("W")
"""A number, or an array with one for each of several pictures."""


@dataclass(frozen=True)
class Correction(Generic[W]):
    """Weights of the latent that replaces the current one, once its own prediction is known (UniPC's corrector)."""

    previous_latent_weight: W
    """Of the latent (itself corrected) of the step before."""
    data_weight: W
    """Of the clean latent predicted now."""
    previous_data_weight: W
    """Of the one predicted in the step before."""
    earlier_data_weight: W
    """Of the one predicted two steps before."""


@dataclass(frozen=True)
class Weights(Generic[W]):
    """A step as it is computed."""

    noise: W
    signal: W
    """Of the latent without its noise: that is the clean latent."""
    latent: W
    data: W
    """Of the clean latent."""
    previous_data: W | None
    """Of the one of the step before; None = it is not asked."""
    correction: Correction[W] | None


@dataclass(frozen=True)
class Step:
    """Coefficients of one step."""

    timestep: int
    alpha: float
    """Signal scale at this timestep."""
    sigma: float
    """Noise scale at this timestep."""
    latent_weight: float
    data_weight: float
    previous_weight: float
    correction: Correction[float] | None = None
    """Done before the step; None leaves the latent as it is."""

    @cached_property
    def weights(self) -> Weights[float]:
        """The step as it is computed."""
        previous = self.previous_weight or None
        signal = 1.0 / self.alpha
        return Weights(self.sigma, signal, self.latent_weight, self.data_weight, previous, self.correction)

    @property
    def noise_level(self) -> float:
        """Noise over signal, sigma / alpha."""
        return self.sigma / self.alpha


def first_order(timesteps: npt.NDArray[np.int64], power: Levels, following: Levels) -> tuple[Step, ...]:
    """Steps without memory between levels of signal power."""
    alpha, sigma = np.sqrt(power), np.sqrt(1 - power)
    next_alpha, next_sigma = np.sqrt(following), np.sqrt(1 - following)
    ratio = next_sigma / sigma
    columns = zip(timesteps, alpha, sigma, ratio, next_alpha - ratio * alpha, strict=True)
    return tuple(Step(int(t), float(a), float(s), float(x), float(d), 0.0) for t, a, s, x, d in columns)
