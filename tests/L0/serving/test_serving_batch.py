"""The denoiser's inputs, put together from lanes, against a plain account of what every row should hold."""

from __future__ import annotations

import itertools
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_runners import FakeReferenceEncoder, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.batch import Assembler, parts, split_noise
from serving.lane import Lane, LaneSpec
from serving.reference_feeds import ReferenceFeeds, pad
from serving.references import ReferenceFeatures
from tests.helpers.concepts import SITES
from vico.sampling import GuidanceInterval, SamplerState, guide


class Recorded(Executor):
    """Runs at once, and keeps what came of it."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        self.futures.append(future)
        return future


def make_references() -> ReferenceFeatures:
    return ReferenceFeatures(FakeReferenceEncoder(), len(SITES), 2**24, lookahead=2, max_rows=8)


@st.composite
def specs(draw: st.DrawFn) -> LaneSpec:
    spec = make_spec(
        seed=draw(st.integers(0, 5)),
        steps=draw(st.integers(1, 6)),
        guidance_scale=draw(st.sampled_from([1.0, 4.0])),
        digest=draw(st.sampled_from(["", "a" * 64, "b" * 64])),
        negative=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )
    levels = [step.noise_level for step in spec.plan.steps]
    interval = draw(st.sampled_from([(0.0, 1e9), (0.0, levels[len(levels) // 2]), (levels[-1] * 1.01, 1e9)]))
    return replace(spec, guidance_interval=GuidanceInterval(*interval))


@st.composite
def batches(draw: st.DrawFn) -> list[Lane]:
    lanes = [Lane(spec) for spec in draw(st.lists(specs(), min_size=1, max_size=4))]
    for number, lane in enumerate(lanes):
        lane.slot = number if lane.spec.concept else None
        lane.state = SamplerState(lane.spec.noise, draw(st.integers(0, len(lane.spec.plan) - 1)))
    return lanes


def rows_of(lane: Lane, references: ReferenceFeatures) -> list[dict[str, Any]]:
    """What the rows of a lane's next step should hold, one by one."""
    spec, index = lane.spec, lane.state.index
    rows = []
    for half in (0, 1) if spec.guided[index] else (1,):
        strength = spec.concept.image_guidance[half] if spec.concept else 0.0
        timestep = spec.plan.steps[index].timestep
        tokens = [np.zeros((1, site.channels), np.float32) for site in SITES]
        if strength > 0:
            (tokens,) = references.at([(spec.streams[half], (timestep,))])  # type: ignore[assignment]
        rows.append(
            {
                "latent": lane.state.latent,
                "timestep": timestep,
                "context": spec.context[half],
                "slot": lane.slot or 0,
                "image_guidance": np.float32(strength),
                "tokens": tokens,
            }
        )
    return rows


def check(feeds: Any, lanes: list[Lane]) -> None:
    references = make_references()
    expected = [row for lane in lanes for row in rows_of(lane, references)]
    for name in ("latent", "timestep", "context", "slot", "image_guidance"):
        np.testing.assert_array_equal(feeds[name], np.array([row[name] for row in expected]), err_msg=name)
    for i in range(len(SITES)):
        features, mask = feeds[f"reference_features.{i}"], feeds[f"reference_mask.{i}"]
        for row, one_features, one_mask in zip(expected, features, mask, strict=True):
            np.testing.assert_array_equal(one_features[one_mask > 0], row["tokens"][i])
            assert not one_features[one_mask == 0].any()


@settings(max_examples=60, deadline=None)
@given(lanes=batches())
def test_every_row_holds_what_its_lane_asks(lanes: list[Lane]) -> None:
    bank = {"weights": np.arange(3, dtype=np.float32)}
    feeds = Assembler(SITES, make_references()).feeds(lanes, bank)
    check(feeds, lanes)
    assert feeds["weights"] is bank["weights"]
    assert {feeds[name].dtype for name in ("timestep", "slot")} == {np.dtype(np.int64)}
    assert {feeds[name].dtype for name in ("latent", "context", "image_guidance")} == {np.dtype(np.float32)}


@settings(max_examples=30, deadline=None)
@given(lanes=batches(), data=st.data())
def test_nothing_of_an_earlier_step_is_left_over(lanes: list[Lane], data: st.DataObject) -> None:
    """Lanes go on, leave, come back to another slot, and stand in another order: what is kept is never another's."""
    assembler = Assembler(SITES, make_references())
    for _ in range(4):
        present = data.draw(st.permutations(lanes))[: data.draw(st.integers(1, len(lanes)))]
        check(assembler.feeds(present, {}), present)
        for lane in present:
            index = data.draw(st.integers(0, len(lane.spec.plan) - 1))
            lane.state = SamplerState(lane.state.latent + 1, index)
            if lane.slot is not None:
                lane.slot = data.draw(st.integers(0, 3))


@settings(max_examples=30, deadline=None)
@given(lanes=batches(), data=st.data())
def test_what_is_prepared_is_what_is_asked(lanes: list[Lane], data: st.DataObject) -> None:
    """Whether the batch stays or not, and whether the features are there or not."""
    with ThreadPoolExecutor(1) as executor:
        assembler = Assembler(SITES, make_references(), executor)
        present = list(lanes)
        for _ in range(5):
            check(assembler.feeds(present, {}), present)
            assembler.expect(present)
            for lane in present:
                lane.state = SamplerState(lane.state.latent + 1, lane.state.index + 1)
            present = [lane for lane in present if not lane.done]
            if data.draw(st.booleans()):
                present = [lane for lane in data.draw(st.permutations(lanes)) if not lane.done]
            if not present:
                return


def test_a_step_is_prepared_while_the_one_before_runs() -> None:
    encoder, executor = FakeReferenceEncoder(), Recorded()
    references = ReferenceFeatures(encoder, len(SITES), 2**24, lookahead=4)
    feeds = ReferenceFeeds(SITES, references, executor)
    spec, other = (make_spec(seed=seed, steps=4, digest="a" * 64) for seed in (0, 1))
    feeds.of(((spec, 0),))
    hits = references.use.hits
    feeds.prepare(((spec, 1),))
    [prepared] = executor.futures
    assert feeds.of(((spec, 1),)) is prepared.result()
    assert references.use.hits == hits + 2, "counted once"
    for ask in (((spec, 3),), ((other, 2),), ((spec, 2), (other, 2))):
        feeds.prepare(((spec, 2),))
        assert feeds.of(ask) is not executor.futures[-1].result(), "another batch"
    for key in references.cache.keys():  # noqa: SIM118 - a list of them, not a view
        references.cache.drop(key)
    feeds.prepare(((spec, 3),))
    runs = references.use.runs
    assert executor.futures[-1].result() is None, "left to whoever computes features"
    assert references.use.runs == runs
    assert feeds.of(((spec, 3),))
    assert references.use.runs > runs


def test_a_preparation_that_fails_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Recorded()
    references = make_references()
    feeds, spec = ReferenceFeeds(SITES, references, executor), make_spec(steps=3, digest="a" * 64)
    with monkeypatch.context() as broken:
        broken.setattr(references, "kept", lambda _: 1 / 0)
        feeds.prepare(((spec, 0),))
    assert isinstance(executor.futures[0].exception(), ZeroDivisionError)
    lane = Lane(spec)
    lane.slot = 0
    check(Assembler(SITES, references).feeds([lane], {}), [lane])
    assert set(feeds.of(((spec, 0),))) == set(ReferenceFeeds(SITES, references).of(((spec, 0),)))
    feeds.close()
    feeds.prepare(((spec, 1),))
    assert len(executor.futures) == 1, "nothing more is begun"


def test_what_stays_is_put_together_once() -> None:
    assembler = Assembler(SITES, make_references())
    lane = Lane(make_spec(steps=4, digest="a" * 64))
    first = assembler.feeds([lane], {})
    lane.state = SamplerState(lane.state.latent, 1)
    second = assembler.feeds([lane], {})
    assert first["context"] is second["context"]
    assert first["timestep"][0] != second["timestep"][0]
    other = Lane(make_spec(seed=1, steps=4))
    assert assembler.feeds([lane, other], {})["context"] is not first["context"]


@settings(max_examples=40, deadline=None)
@given(lanes=batches())
def test_noise_is_split_as_rows_were_laid(lanes: list[Lane]) -> None:
    random = np.random.default_rng(0)
    noise = random.standard_normal((sum(lane.rows for lane in lanes), 4, 4, 4)).astype(np.float32)
    rest = list(noise)
    for lane, guided in zip(lanes, split_noise(lanes, noise), strict=True):
        own = [rest.pop(0) for _ in range(lane.rows)]
        wanted = guide(own[0], own[1], lane.spec.guidance_scale) if lane.guided else own[0]
        np.testing.assert_array_equal(guided, wanted)
    assert not rest


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_padding_is_masked_out(lengths: list[int]) -> None:
    rows = [np.full((length, 3), number + 1.0, np.float32) for number, length in enumerate(lengths)]
    features, mask = pad(rows)
    assert features.shape == (len(rows), max(lengths), 3)
    assert mask.sum(axis=1).tolist() == lengths
    for row, own, own_mask in zip(rows, features, mask, strict=True):
        np.testing.assert_array_equal(own[own_mask > 0], row)
        assert not own[own_mask == 0].any()


def test_a_mask_that_is_shared_cannot_be_written_to() -> None:
    _, mask = pad([np.ones((2, 3), np.float32)])
    with pytest.raises(ValueError, match="read-only"):
        mask[0, 0] = 0


@given(lanes=batches(), rows=st.integers(0, 9))
def test_parts_are_the_lanes_in_order_and_bounded(lanes: list[Lane], rows: int) -> None:
    height, width = lanes[0].spec.size_class
    found = list(parts(lanes, rows * height * width + 1 if rows else 0))
    assert [lane for part in found for lane in part] == lanes
    if not rows:
        assert len(found) == 1
        return
    counts = [sum(lane.rows for lane in part) for part in found]
    assert all(count <= rows or len(part) == 1 for count, part in zip(counts, found, strict=True))
    for before, after in itertools.pairwise(zip(counts, found, strict=True)):
        assert before[0] + after[1][0].rows > rows, "no part ends while there is room"
