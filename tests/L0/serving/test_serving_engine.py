from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import numpy.typing as npt
import pytest
from fake_runners import Concepts, Failing, FakeDenoiser, FakeReferenceEncoder, make_engine, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.bank import SlotBank
from serving.engine import Engine, EngineOptions
from serving.errors import ConceptNotFound, ConceptRefused, ServingError
from serving.lane import Lane, LaneSpec
from serving.references import ReferenceFeatures
from serving.runner import Feeds, Results
from serving.scheduling import Claim
from tests.helpers.concepts import SITES
from vico.concept import ConceptPackage
from vico.sampling import SamplerState, advance, guide

Latent = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Concepts:
    return Concepts(tmp_path_factory.mktemp("concepts"), 4)


def finish(engine: Engine) -> list[Lane]:
    ended = []
    while not engine.idle:
        ended += engine.step()
        engine.check_integrity()
    return ended


def alone(concepts: Concepts, spec: LaneSpec) -> Latent:
    engine = make_engine(concepts.load)
    lane = engine.submit(spec)
    finish(engine)
    return lane.state.latent


@st.composite
def scenarios(draw: st.DrawFn) -> list[tuple[int, dict[str, object]]]:
    """Lanes of every kind, each with the step at which it arrives."""
    lane = st.fixed_dictionaries(
        {
            "seed": st.integers(0, 5),
            "steps": st.integers(1, 5),
            "sampler": st.sampled_from(["ddim", "dpmpp_2m"]),
            "guidance_scale": st.sampled_from([1.0, 2.5, 7.5]),
            "side": st.sampled_from([2, 4]),
            "concept": st.integers(-1, 3),
            "image_guidance": st.sampled_from([0.5, 1.0]),
            "references": st.integers(1, 3),
            "fixed_context": st.booleans(),
        }
    )
    return draw(st.lists(st.tuples(st.integers(0, 6), lane), min_size=1, max_size=9))


@settings(max_examples=60, deadline=None)
@given(
    scenario=scenarios(),
    slots=st.integers(1, 3),
    max_lanes=st.integers(1, 5),
    reference_bytes=st.sampled_from([0, 500, 2**20]),
)
def test_a_picture_depends_on_its_own_fields_only(
    concepts: Concepts,
    scenario: list[tuple[int, dict[str, object]]],
    slots: int,
    max_lanes: int,
    reference_bytes: int,
) -> None:
    engine = make_engine(concepts.load, slots, max_lanes, reference_bytes=reference_bytes)
    arrivals = [(step, _spec(concepts, fields)) for step, fields in scenario]
    lanes: list[Lane] = []
    for step in range(8):
        lanes += [engine.submit(spec) for at, spec in arrivals if at == step]
        engine.step()
        engine.check_integrity()
    finish(engine)
    engine.bank.check_integrity(concepts.load)
    assert len(lanes) == len(scenario)
    for lane in lanes:
        assert lane.done
        np.testing.assert_array_equal(lane.state.latent, alone(concepts, lane.spec))


def _spec(concepts: Concepts, fields: dict[str, object]) -> LaneSpec:
    index = fields["concept"]
    rest = {name: value for name, value in fields.items() if name != "concept"}
    assert isinstance(index, int)
    return make_spec(digest=concepts.digests[index] if index >= 0 else "", **rest)  # type: ignore[arg-type]


def test_a_lane_without_a_concept_is_plain_stable_diffusion() -> None:
    spec = make_spec(seed=3, steps=3)
    lane = make_engine(None).submit(spec)
    engine = make_engine(None)
    lane = engine.submit(spec)
    finish(engine)
    state: SamplerState[Latent] = SamplerState(spec.noise)
    for timestep in spec.plan.timesteps:
        halves = [np.tanh(state.latent + context.mean()) * np.cos(timestep / 100.0) for context in spec.context]
        state = advance(spec.plan, state, guide(halves[0].astype(np.float32), halves[1].astype(np.float32), 7.5))
    np.testing.assert_allclose(lane.state.latent, state.latent, rtol=1e-6)


def test_concepts_and_their_strength_show_in_the_picture(concepts: Concepts) -> None:
    pictures = [alone(concepts, make_spec(digest=digest)) for digest in ("", *concepts.digests)]
    pictures += [alone(concepts, make_spec(digest=concepts.digests[0], image_guidance=0.5))]
    for i, one in enumerate(pictures):
        assert all(np.abs(one - other).max() > 1e-4 for other in pictures[:i])


def test_a_negative_half_that_does_not_attend_asks_for_no_reference(concepts: Concepts) -> None:
    digest = concepts.digests[0]
    pictures, rows = [], []
    for negative in (1.0, 0.5, 0.0):
        references = ReferenceFeatures(FakeReferenceEncoder(), len(SITES), 2**20, lookahead=3, max_rows=5)
        engine = Engine(FakeDenoiser(), references, SlotBank(SITES, 2), concepts.load, SITES, 4)
        lane = engine.submit(make_spec(digest=digest, negative=negative))
        finish(engine)
        pictures.append(lane.state.latent)
        rows.append(references.use.rows)
    assert rows[0] == rows[1] == 2 * rows[2]
    assert all(np.abs(pictures[i] - pictures[i - 1]).max() > 1e-4 for i in range(3))


def test_without_guidance_a_lane_takes_one_row() -> None:
    denoiser = FakeDenoiser()
    engine = make_engine(None, denoiser=denoiser)
    engine.submit(make_spec(guidance_scale=1.0, steps=1))
    engine.submit(make_spec(guidance_scale=2.0, steps=1))
    finish(engine)
    assert denoiser.batches == [3]


@pytest.mark.parametrize(
    ("claims", "batches"),
    [
        ([Claim(), Claim()], [4, 2, 4, 2]),
        ([Claim(), Claim(deadline=50)], [2, 2, 4, 4]),
        ([Claim(priority=6), Claim(deadline=50)], [4, 4, 2, 2]),
    ],
    ids=["in turn", "earliest deadline", "highest priority"],
)
def test_the_most_urgent_size_class_steps_first(claims: list[Claim], batches: list[int]) -> None:
    denoiser, now = FakeDenoiser(), count()
    engine = make_engine(None, denoiser=denoiser, clock=lambda: next(now) / 1000)
    for side, claim in zip((2, 2, 4), (claims[0], *claims), strict=True):
        engine.submit(make_spec(side=side, steps=2), claim)
    finish(engine)
    assert denoiser.batches == batches


def test_a_batch_is_bounded_in_rows_and_nobody_slips_past() -> None:
    denoiser, clock = FakeDenoiser(), count()
    engine = make_engine(None, denoiser=denoiser, options=EngineOptions(max_rows=3), clock=lambda: next(clock) / 1000)
    for k, scale in enumerate((7.5, 7.5, 1.0, 7.5)):
        engine.submit(make_spec(guidance_scale=scale, steps=1 + (k == 0)), Claim(arrived=k / 1000))
    finish(engine)
    assert denoiser.batches == [2, 2, 3, 2], "the unguided third waits for the second, which needs two rows"


def test_request_batching_forms_a_batch_once() -> None:
    denoiser = FakeDenoiser()
    engine = make_engine(None, denoiser=denoiser, options=EngineOptions(batching="request"))
    for steps in (3, 2, 3, 2):
        engine.submit(make_spec(guidance_scale=1.0, steps=steps))
    engine.submit(make_spec(guidance_scale=1.0, steps=2, side=2))
    engine.step()
    engine.submit(make_spec(guidance_scale=1.0, steps=3))
    finish(engine)
    assert denoiser.batches == [2, 2, 2, 2, 2, 1, 1, 1, 1, 1], "one sampler, one number of steps, one size"


def test_more_concepts_than_slots_wait_for_a_slot(concepts: Concepts) -> None:
    engine = make_engine(concepts.load, slots=1)
    lanes = [engine.submit(make_spec(digest=digest, steps=2)) for digest in concepts.digests[:2]]
    engine.step()
    assert [lane.state.index for lane in lanes] == [1, 0]
    finish(engine)
    assert all(lane.done for lane in lanes)


def test_a_concept_that_cannot_be_loaded_fails_its_own_lane_only(concepts: Concepts) -> None:
    def load(digest: str) -> ConceptPackage:
        if digest == "gone":
            raise ConceptNotFound("concept", "gone")
        return concepts.load(digest)

    engine = make_engine(load)
    lost = engine.submit(make_spec(digest="gone"))
    good = engine.submit(make_spec(digest=concepts.digests[0]))
    ended = finish(engine)
    assert {id(lane) for lane in ended} == {id(lost), id(good)}
    assert isinstance(lost.error, ConceptNotFound)
    assert good.error is None
    assert good.done


@pytest.mark.parametrize("threads", [False, True])
def test_a_package_that_could_not_be_read_is_tried_again_for_the_next_lane(concepts: Concepts, threads: bool) -> None:
    failures = [OSError("for a moment")]

    def load(digest: str) -> ConceptPackage:
        if failures:
            raise failures.pop()
        return concepts.load(digest)

    engine = make_engine(load, threads=threads)
    first = [engine.submit(make_spec(digest=concepts.digests[0], seed=seed)) for seed in range(2)]
    finish(engine)
    assert all(isinstance(lane.error, OSError) for lane in first), "asked for together, they fail together"
    second = engine.submit(make_spec(digest=concepts.digests[0]))
    finish(engine)
    assert second.error is None
    assert second.done
    engine.close()


def test_cancelling_frees_the_slot_and_disturbs_nobody(concepts: Concepts) -> None:
    engine = make_engine(concepts.load, slots=1, max_lanes=2)
    running = engine.submit(make_spec(digest=concepts.digests[0], steps=5))
    waiting = engine.submit(make_spec(digest=concepts.digests[1], steps=2))
    engine.step()
    engine.cancel(running)
    engine.cancel(running)
    engine.check_integrity()
    finish(engine)
    assert waiting.done
    assert not running.done
    np.testing.assert_array_equal(waiting.state.latent, alone(concepts, waiting.spec))


def test_after_a_broken_step_the_lanes_can_be_taken_out(concepts: Concepts) -> None:
    engine = make_engine(concepts.load, denoiser=Failing())
    lane = engine.submit(make_spec(digest=concepts.digests[0]))
    with pytest.raises(RuntimeError):
        engine.step()
    engine.cancel(lane)
    engine.check_integrity()
    assert engine.idle


class Overflowing(FakeDenoiser):
    """Rows whose context is large become infinite."""

    def run(self, feeds: Feeds) -> Results:
        noise = super().run(feeds)["noise"]
        noise[feeds["context"].mean(axis=(1, 2)) > 100] = np.inf
        return {"noise": noise}


@pytest.mark.parametrize("concept", [True, False])
def test_a_picture_that_is_no_numbers_is_an_error_and_not_a_black_picture(concepts: Concepts, concept: bool) -> None:
    engine = make_engine(concepts.load, denoiser=Overflowing())
    digest = concepts.digests[0] if concept else ""
    spec = make_spec(digest=digest)
    bad = engine.submit(replace(spec, context=spec.context + np.float32(1000)))
    good = engine.submit(make_spec(seed=1, digest=digest))
    assert {id(lane) for lane in finish(engine)} == {id(bad), id(good)}
    assert good.error is None
    assert isinstance(bad.error, ConceptRefused if concept else ServingError)
    assert "grew beyond all bounds" in str(bad.error)
    engine.check_integrity()


def test_an_idle_engine_steps_without_harm() -> None:
    engine = make_engine(None)
    assert engine.step() == []
    assert engine.idle
