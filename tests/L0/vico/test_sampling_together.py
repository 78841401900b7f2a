"""Pictures that step together: each as by itself, to the bit, whoever is beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vico.sampling import SAMPLERS, NoiseSchedule, SamplerState, advance, advance_together, initial_noise, make_plan
from vico.sampling.plan import Plan

SCHEDULE = NoiseSchedule()
Array = npt.NDArray[np.float32]
PICTURES = st.lists(
    st.tuples(st.sampled_from(sorted(SAMPLERS)), st.integers(1, 7), st.integers(0, 4)), min_size=1, max_size=6
)
FIELDS = ("latent", "previous_data", "earlier_data", "previous_latent")


def predicted(latent: Array, index: int) -> Array:
    noise: Array = np.tanh(latent * np.float32(0.7) + np.float32(index)) + np.float32(0.1) * latent
    return noise


def same(one: SamplerState[Array], other: SamplerState[Array]) -> None:
    assert one.index == other.index
    for name in FIELDS:
        mine, its = getattr(one, name), getattr(other, name)
        if its is None:
            assert mine is None
        else:
            assert mine.dtype == its.dtype == np.float32
            np.testing.assert_array_equal(mine, its)


@settings(max_examples=150, deadline=None)
@given(pictures=PICTURES, shape=st.sampled_from([(4, 2, 2), (4, 6, 3)]))
def test_each_steps_as_by_itself(pictures: list[tuple[str, int, int]], shape: tuple[int, ...]) -> None:
    """Of any samplers and lengths, which join at any time and leave when they are done."""
    plans = [make_plan(sampler, steps, SCHEDULE) for sampler, steps, _ in pictures]
    together = [SamplerState(initial_noise(k, 0, shape)) for k in range(len(pictures))]
    alone = list(together)
    for tick in range(max(start + len(plan) for plan, (_, _, start) in zip(plans, pictures, strict=True))):
        inside = [k for k, (_, _, start) in enumerate(pictures) if start <= tick < start + len(plans[k])]
        noise = [predicted(together[k].latent, together[k].index) for k in inside]
        stepped = advance_together([(plans[k], together[k]) for k in inside], noise) if inside else []
        for k, own, after in zip(inside, noise, stepped, strict=True):
            alone[k] = advance(plans[k], alone[k], own)
            together[k] = after
            same(together[k], alone[k])
    assert all(state.index == len(plan) for state, plan in zip(together, plans, strict=True))


def test_nobody_is_nothing() -> None:
    assert advance_together([], []) == []


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_state_is_not_written_to(sampler: str) -> None:
    plan: Plan = make_plan(sampler, 5, SCHEDULE)
    state: SamplerState[Any] = SamplerState(initial_noise(0, 0, (4, 2, 2)))
    for _ in plan.steps:
        kept = {name: array.copy() for name in FIELDS if (array := getattr(state, name)) is not None}
        noise = predicted(state.latent, state.index)
        [after] = advance_together([(plan, state)], [noise])
        np.testing.assert_array_equal(noise, predicted(state.latent, state.index))
        for name, array in kept.items():
            np.testing.assert_array_equal(getattr(state, name), array)
        state = after
