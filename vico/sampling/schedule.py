"""Stable Diffusion's noise schedule."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NoiseSchedule:
    """The numbers of a diffusers scheduler config that fix the forward process; defaults are SD 1.x's."""

    num_train_timesteps: Annotated[int, Field(ge=2)] = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    steps_offset: int = 1
    """Added to DDIM's "leading" timesteps."""
    set_alpha_to_one: bool = False
    """Whether DDIM's last step goes to a noiseless picture rather than to timestep 0."""

    def alphas_cumprod(self) -> npt.NDArray[np.float64]:
        """[num_train_timesteps]: the share of signal power left at each timestep."""
        return _alphas_cumprod(self)


@cache
def _alphas_cumprod(schedule: NoiseSchedule) -> npt.NDArray[np.float64]:
    """In float64; diffusers accumulates in float32 and so differs by about 1e-7."""
    power = 0.5 if schedule.beta_schedule == "scaled_linear" else 1.0
    ends = np.array([schedule.beta_start, schedule.beta_end]) ** power
    betas = np.linspace(ends[0], ends[1], schedule.num_train_timesteps) ** (1 / power)
    alphas: npt.NDArray[np.float64] = np.cumprod(1.0 - betas)
    alphas.setflags(write=False)
    return alphas
