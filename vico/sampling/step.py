"""One step of a sampler as numbers: all that a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Correction:
    """Weights of the latent that replaces the current one, once its own prediction is known (UniPC's corrector)."""

    previous_latent_weight: float
    """Of the latent (itself corrected) of the step before."""
    data_weight: float
    """Of the clean latent predicted now."""
    previous_data_weight: float
    """Of the one predicted in the step before."""
    earlier_data_weight: float
    """Of the one predicted two steps before."""


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
    correction: Correction | None = None
    """Done before the step; None leaves the latent as it is."""

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
