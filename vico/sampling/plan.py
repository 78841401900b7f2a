"""One picture's way through the noise levels, as three numbers a step.

DDIM (arXiv 2010.02502, eta 0) and DPM-Solver++(2M) (arXiv 2211.01095, midpoint) share one form. With the prediction of
the clean latent d = (x - sigma * noise) / alpha, the next latent is

    x' = latent_weight * x  +  data_weight * d  +  previous_weight * (d of the step before)

and UniPC (`vico.sampling.unipc`) mends x by a like sum before it. So a plan is a table of coefficients, a step is a
pure function, and a batch may mix samplers and step counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from vico.errors import SamplerError
from vico.sampling.schedule import NoiseSchedule
from vico.sampling.step import Correction, Step, first_order
from vico.sampling.unipc import unipc


class _Arithmetic(Protocol):
    """What a step asks of an array: numpy's and torch's both do."""

    def __add__(self, other: Self, /) -> Self: ...
    def __sub__(self, other: Self, /) -> Self: ...
    def __mul__(self, other: float | Self, /) -> Self: ...


A = TypeVar("A", bound=_Arithmetic)


@dataclass(frozen=True)
class Plan:
    """All steps of one picture, from noise to latent."""

    sampler: str
    steps: tuple[Step, ...]

    @cached_property
    def timesteps(self) -> tuple[int, ...]:
        """The timesteps in the order in which the denoiser is asked."""
        return tuple(step.timestep for step in self.steps)

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class SamplerState(Generic[A]):
    """Where a picture stands between two steps."""

    latent: A
    """[..., 4, h, w]"""
    index: int = 0
    """The step to be done next."""
    previous_data: A | None = None
    """The clean latent predicted in the step before."""
    earlier_data: A | None = None
    """The one predicted two steps before."""
    previous_latent: A | None = None
    """The latent that the step before began from, corrected."""


def advance(plan: Plan, state: SamplerState[A], noise: A) -> SamplerState[A]:
    """Do one step.

    Args:
        plan: the picture's plan.
        state: the picture before the step; `state.index < len(plan)`.
        noise: the noise predicted for `state.latent` at `plan.steps[state.index].timestep`, same shape.
    """
    step = plan.steps[state.index]
    data = (state.latent - noise * step.sigma) * (1.0 / step.alpha)
    begin = _corrected(step.correction, state, data)
    latent = begin * step.latent_weight + data * step.data_weight
    if step.previous_weight != 0.0 and state.previous_data is not None:
        latent = latent + state.previous_data * step.previous_weight
    return SamplerState(latent, state.index + 1, data, state.previous_data, begin)


def _corrected(correction: Correction | None, state: SamplerState[A], data: A) -> A:
    """The latent of `state` in the light of the prediction `data` made from it."""
    if correction is None or state.previous_latent is None or state.previous_data is None:
        return state.latent
    begin = state.previous_latent * correction.previous_latent_weight + data * correction.data_weight
    begin = begin + state.previous_data * correction.previous_data_weight
    if state.earlier_data is not None:
        begin = begin + state.earlier_data * correction.earlier_data_weight
    return begin


def guide(negative: A, positive: A, scale: float | A) -> A:
    """Classifier-free guidance (arXiv 2207.12598): from the negative prompt's noise through the positive's."""
    return negative + (positive - negative) * scale


@lru_cache(maxsize=1024)
def make_plan(sampler: str, num_steps: int, schedule: NoiseSchedule) -> Plan:
    """The plan of `num_steps` steps of `sampler` (a key of `SAMPLERS`) under `schedule`.

    Raises:
        SamplerError: the sampler is unknown, or the step count is not below the number of the schedule's timesteps.
    """
    if sampler not in SAMPLERS:
        raise SamplerError("sampler", f"unknown sampler {sampler!r}", ", ".join(SAMPLERS))
    if not 1 <= num_steps < schedule.num_train_timesteps:
        raise SamplerError("steps", f"{num_steps} steps", f"1 to {schedule.num_train_timesteps - 1}")
    return Plan(sampler, SAMPLERS[sampler](num_steps, schedule))


def _ddim(num_steps: int, schedule: NoiseSchedule) -> tuple[Step, ...]:
    """diffusers' DDIMScheduler with timestep_spacing="leading"."""
    power = schedule.alphas_cumprod()
    stride = schedule.num_train_timesteps // num_steps
    timesteps = np.arange(num_steps)[::-1] * stride + schedule.steps_offset
    timesteps = np.minimum(timesteps, schedule.num_train_timesteps - 1)
    final = 1.0 if schedule.set_alpha_to_one else power[0]
    following = np.where(timesteps >= stride, power[np.maximum(timesteps - stride, 0)], final)
    return first_order(timesteps, power[timesteps], following)


def _dpmpp_2m(num_steps: int, schedule: NoiseSchedule) -> tuple[Step, ...]:
    """diffusers' DPMSolverMultistepScheduler in its defaults: 2M, midpoint, linspace, last step to sigma 0."""
    last = schedule.num_train_timesteps - 1
    timesteps = np.linspace(0, last, num_steps + 1).round()[::-1][:-1].astype(np.int64)
    power = schedule.alphas_cumprod()[timesteps]
    first = first_order(timesteps, power, np.append(power[1:], 1.0))
    log_snr = 0.5 * (np.log(power) - np.log1p(-power))
    steps = [first[0]]
    for i in range(1, num_steps):
        is_last = i == num_steps - 1
        # The last step goes to sigma 0, where the second-order term is undefined: diffusers takes it first order.
        share = 0.0 if is_last else 0.5 * (log_snr[i + 1] - log_snr[i]) / (log_snr[i] - log_snr[i - 1])
        steps.append(_second_order(first[i], float(share)))
    return tuple(steps)


def _second_order(step: Step, share: float) -> Step:
    """Extrapolate the clean latent by `share` of its last change: d + share * (d - previous d)."""
    return Step(
        step.timestep,
        step.alpha,
        step.sigma,
        step.latent_weight,
        step.data_weight * (1 + share),
        -step.data_weight * share,
    )


SAMPLERS: dict[str, Callable[[int, NoiseSchedule], tuple[Step, ...]]] = {
    "ddim": _ddim,
    "dpmpp_2m": _dpmpp_2m,
    "unipc": unipc,
}
"""Samplers by the name a request gives."""
