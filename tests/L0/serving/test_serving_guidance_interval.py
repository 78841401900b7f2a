"""Guidance within a range of noise levels, in the engine: rows halve outside of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from fake_runners import Concepts, FakeDenoiser, make_engine, make_spec

from serving.lane import LaneSpec
from vico.sampling import GuidanceInterval


def within(spec: LaneSpec, first: int, last: int) -> LaneSpec:
    """Guided from step `first` to step `last`."""
    levels = [step.noise_level for step in spec.plan.steps] + [0.0]
    return replace(spec, guidance_interval=GuidanceInterval(levels[last + 1], levels[first]))


def drawn(spec: LaneSpec, *, beside: tuple[LaneSpec, ...] = (), concepts: Concepts) -> tuple[np.ndarray, list[int]]:  # type: ignore[type-arg]
    denoiser = FakeDenoiser()
    engine = make_engine(concepts.load, denoiser=denoiser)
    lane = engine.submit(spec)
    for other in beside:
        engine.submit(other)
    while not engine.idle:
        engine.step()
        engine.check_integrity()
    assert lane.error is None
    return lane.state.latent, denoiser.batches


def test_rows_halve_outside_the_interval(tmp_path: Path) -> None:
    concepts = Concepts(tmp_path, 1)
    spec = within(make_spec(steps=5, digest=concepts.digests[0]), 1, 3)
    assert spec.guided == (False, True, True, True, False)
    assert drawn(spec, concepts=concepts)[1] == [1, 2, 2, 2, 1]


def test_an_interval_over_everything_changes_nothing(tmp_path: Path) -> None:
    concepts = Concepts(tmp_path, 1)
    spec = make_spec(steps=4, digest=concepts.digests[0])
    whole = within(spec, 0, 3)
    assert np.array_equal(drawn(spec, concepts=concepts)[0], drawn(whole, concepts=concepts)[0])


def test_outside_the_interval_a_step_is_one_without_guidance(tmp_path: Path) -> None:
    concepts = Concepts(tmp_path, 1)
    spec = make_spec(steps=1, digest=concepts.digests[0])
    never = replace(spec, guidance_interval=GuidanceInterval(1e6, 1e7))
    unguided = replace(spec, guidance_scale=1.0)
    assert np.array_equal(drawn(never, concepts=concepts)[0], drawn(unguided, concepts=concepts)[0])
    assert not np.array_equal(drawn(spec, concepts=concepts)[0], drawn(unguided, concepts=concepts)[0])


def test_neighbours_with_other_intervals_change_nothing(tmp_path: Path) -> None:
    concepts = Concepts(tmp_path, 2)
    spec = within(make_spec(steps=6, digest=concepts.digests[0], sampler="unipc"), 2, 4)
    beside = (
        within(make_spec(seed=1, steps=5, digest=concepts.digests[1]), 0, 1),
        make_spec(seed=2, steps=3),
        replace(make_spec(seed=3, steps=7, digest=concepts.digests[0]), guidance_scale=1.0),
    )
    alone, _ = drawn(spec, concepts=concepts)
    together, _ = drawn(spec, beside=beside, concepts=concepts)
    assert np.array_equal(alone, together)


def test_references_are_not_computed_where_the_negative_prompt_is_not_asked(tmp_path: Path) -> None:
    concepts = Concepts(tmp_path, 1)
    spec = within(make_spec(steps=4, digest=concepts.digests[0]), 1, 2)
    engine = make_engine(concepts.load)
    lane = engine.submit(spec)
    engine.schedule()
    steps = spec.plan.timesteps
    assert [timesteps for _, timesteps in lane.spec.reads_at(lane.state.index)] == [steps]
    engine.step()
    assert [timesteps for _, timesteps in lane.spec.reads_at(lane.state.index)] == [steps[1:3], steps[1:]]
