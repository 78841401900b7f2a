"""Presets and the guidance interval."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vico.errors import SamplerError
from vico.sampling import ALWAYS, DEFAULT_PRESET, PRESETS, SAMPLERS, GuidanceInterval, NoiseSchedule, make_plan


def test_the_default_is_what_requests_got_before_there_were_presets() -> None:
    default = PRESETS[DEFAULT_PRESET]
    assert (default.sampler, default.steps, default.guidance_interval) == ("dpmpp_2m", 25, ALWAYS)
    assert next(iter(PRESETS)) == DEFAULT_PRESET


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_plans_that_can_be_made_and_get_cheaper(name: str) -> None:
    preset = PRESETS[name]
    assert preset.sampler in SAMPLERS
    plan = make_plan(preset.sampler, preset.steps, NoiseSchedule())
    guided = [preset.guidance_interval.contains(step) for step in plan.steps]
    assert any(guided), "a preset that never guides ignores the negative prompt"
    rows = {other: p.steps for other, p in PRESETS.items()}
    assert list(rows.values()) == sorted(rows.values(), reverse=True)


@given(steps=st.integers(1, 100), sampler=st.sampled_from(sorted(SAMPLERS)))
def test_without_bounds_every_step_is_guided(steps: int, sampler: str) -> None:
    assert all(ALWAYS.contains(step) for step in make_plan(sampler, steps, NoiseSchedule()).steps)


@given(low=st.floats(0, 10), width=st.floats(0.01, 10), steps=st.integers(1, 60))
def test_guided_steps_are_one_run_of_noise_levels(low: float, width: float, steps: int) -> None:
    interval = GuidanceInterval(low, low + width)
    plan = make_plan("dpmpp_2m", steps, NoiseSchedule())
    guided = [interval.contains(step) for step in plan.steps]
    assert guided == [low < step.sigma / step.alpha <= low + width for step in plan.steps]
    changes = sum(a != b for a, b in pairwise(guided))
    assert changes <= 2, "noise levels fall, so a guided range is entered and left once"


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (-0.1, 1.0), (math.nan, 1.0), (0.0, math.nan)])
def test_an_interval_that_holds_nothing_is_refused(low: float, high: float) -> None:
    with pytest.raises(SamplerError) as caught:
        GuidanceInterval(low, high)
    assert caught.value.field == "guidance_interval"
