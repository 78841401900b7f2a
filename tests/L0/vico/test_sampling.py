"""The samplers against diffusers' schedulers, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from vico.errors import SamplerError
from vico.sampling import SAMPLERS, NoiseSchedule, SamplerState, advance, guide, initial_noise, make_plan

SCHEDULE = NoiseSchedule()
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _diffusers_scheduler(sampler: str) -> DDIMScheduler | DPMSolverMultistepScheduler | UniPCMultistepScheduler:
    if sampler == "ddim":
        return DDIMScheduler(**_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return UniPCMultistepScheduler(**_BETAS) if sampler == "unipc" else DPMSolverMultistepScheduler(**_BETAS)


def _predict(latent: torch.Tensor, timestep: int) -> torch.Tensor:
    """A stand-in for the denoiser: smooth, bounded, and different at every timestep."""
    return torch.tanh(latent * 0.7 + timestep / 1000) + 0.1 * latent


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 15, 25, 50, 100])
def test_equals_diffusers(sampler: str, steps: int) -> None:
    scheduler = _diffusers_scheduler(sampler)
    scheduler.set_timesteps(steps)
    plan = make_plan(sampler, steps, SCHEDULE)
    assert plan.timesteps == tuple(scheduler.timesteps.tolist())
    expected = torch.from_numpy(initial_noise(7, 0, (1, 4, 8, 8)))
    state = SamplerState(expected.clone())
    for timestep in plan.timesteps:
        expected = scheduler.step(_predict(expected, timestep), timestep, expected).prev_sample
        state = advance(plan, state, _predict(state.latent, timestep))
        error = (state.latent - expected).abs().max() / expected.abs().max().clamp(min=1)
        assert error < 1e-5
    assert state.index == len(plan) == steps


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_perfect_prediction_recovers_the_clean_latent(sampler: str) -> None:
    clean, noise = initial_noise(0, 0, (4, 8, 8)), initial_noise(0, 1, (4, 8, 8))
    plan = make_plan(sampler, 20, SCHEDULE)
    first = plan.steps[0]
    state = SamplerState(clean * first.alpha + noise * first.sigma)
    for step in plan.steps:
        state = advance(plan, state, (state.latent - clean * step.alpha) / step.sigma)
    assert np.abs(state.latent - clean).max() < 0.15


@given(steps=st.integers(1, 999), sampler=st.sampled_from(sorted(SAMPLERS)))
@settings(max_examples=60, deadline=None)
def test_every_plan_descends_and_is_finite(steps: int, sampler: str) -> None:
    plan = make_plan(sampler, steps, SCHEDULE)
    assert len(plan) == steps
    assert all(0 <= timestep < 1000 for timestep in plan.timesteps)
    assert list(plan.timesteps) == sorted(plan.timesteps, reverse=True)
    weights = [(s.latent_weight, s.data_weight, s.previous_weight) for s in plan.steps]
    assert np.isfinite(weights).all()


def test_numpy_and_torch_step_alike() -> None:
    plan = make_plan("dpmpp_2m", 8, SCHEDULE)
    array = SamplerState(initial_noise(3, 0, (2, 4, 8, 8)))
    tensor = SamplerState(torch.from_numpy(array.latent.copy()))
    for _ in plan.steps:
        array = advance(plan, array, np.tanh(array.latent))
        tensor = advance(plan, tensor, torch.tanh(tensor.latent))
    assert np.abs(array.latent - tensor.latent.numpy()).max() < 1e-5
    assert array.latent.dtype == np.float32


@pytest.mark.parametrize(
    ("sampler", "steps", "field"), [("euler", 10, "sampler"), ("ddim", 0, "steps"), ("ddim", 1000, "steps")]
)
def test_refusals_name_the_field(sampler: str, steps: int, field: str) -> None:
    with pytest.raises(SamplerError) as caught:
        make_plan(sampler, steps, SCHEDULE)
    assert caught.value.field == field
    assert caught.value.accepted


def test_noise_depends_on_both_numbers_only() -> None:
    shape = (4, 16, 16)
    assert np.array_equal(initial_noise(1, 0, shape), initial_noise(1, 0, shape))
    different = [initial_noise(*key, shape) for key in ((1, 0), (1, 1), (2, 0), (2**63 - 1, 7))]
    for i, one in enumerate(different):
        assert abs(one.mean()) < 0.15
        assert 0.9 < one.std() < 1.1
        assert all(not np.array_equal(one, other) for other in different[i + 1 :])


def test_guidance_at_one_is_the_positive_prompt() -> None:
    negative, positive = np.zeros(3), np.array([1.0, 2.0, 3.0])
    assert np.array_equal(guide(negative, positive, 1.0), positive)
    assert np.array_equal(guide(negative, positive, 2.0), 2 * positive)
