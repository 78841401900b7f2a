"""What is prepared beside the loop: reference features ahead of need, packages before a lane joins."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest
from fake_runners import Concepts, Failing, FakeDenoiser, FakeReferenceEncoder, make_engine, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.ahead import FeatureWorker, needed_items
from serving.errors import ConceptNotFound
from serving.lane import FloatArray, Lane, LaneSpec
from serving.loop import EngineLoop
from serving.references import ReferenceFeatures
from serving.runner import Feeds, Results
from serving.stages.stage import NO_DEADLINE
from tests.helpers.concepts import SITES

WAIT = 60.0


class Held(FakeReferenceEncoder):
    """Every run waits until it is let through; notes the timesteps of each."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.open = Event(), Event()
        self.timesteps: list[list[int]] = []

    def run(self, feeds: Feeds) -> Results:
        self.timesteps.append(sorted({int(t) for t in feeds["timestep"]}, reverse=True))
        self.reached.set()
        assert self.open.wait(WAIT)
        return super().run(feeds)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(scope="module")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Concepts:
    return Concepts(tmp_path_factory.mktemp("concepts"), 4)


@pytest.fixture
def loops() -> Iterator[Callable[..., EngineLoop]]:
    made: list[EngineLoop] = []

    def make(load: Any, **options: Any) -> EngineLoop:
        made.append(EngineLoop(make_engine(load, threads=True, **options), 64))
        return made[-1]

    yield make
    for loop in made:
        loop.close(WAIT)
        assert not loop._thread.is_alive()
        loop.check_integrity()


def alone(concepts: Concepts, spec: LaneSpec) -> FloatArray:
    engine = make_engine(concepts.load)
    lane = engine.submit(spec)
    while not engine.idle:
        engine.step()
    return lane.state.latent


def features_of(encoder: Any, max_bytes: int = 2**20, max_rows: int = 4) -> ReferenceFeatures:
    return ReferenceFeatures(encoder, len(SITES), max_bytes, lookahead=1, max_rows=max_rows)


def lane_of(seed: int = 0, steps: int = 6) -> Lane:
    return Lane(make_spec(seed=seed, digest="d" * 64, steps=steps, fixed_context=True))


def test_the_worker_serves_the_soonest_need_first() -> None:
    encoder = Held()
    features = features_of(encoder, max_rows=1)
    worker = FeatureWorker(features, lookahead=2, max_rows=1)
    blocker, late, soon, joining = (lane_of(seed) for seed in range(4))
    worker.begin(blocker, step=0, due=0)
    assert encoder.reached.wait(WAIT)
    for lane, step in ((late, 9), (soon, 3)):
        lane.foreseen = 1
        worker.follow(lane, step, due=0)
    worker.begin(joining, step=1, due=0)
    worker.check_integrity()
    encoder.open.set()
    wait_until(lambda: len(encoder.timesteps) == 6)
    worker.close()
    first, *ahead = joining.spec.plan.timesteps[:3]
    assert encoder.timesteps == [[first], [first], *([t] for t in ahead), *([t] for t in ahead)]
    assert joining.first_features
    assert not soon.first_features


def test_a_lane_that_left_costs_the_worker_nothing() -> None:
    encoder = Held()
    worker = FeatureWorker(features_of(encoder), lookahead=2, max_rows=4)
    worker.begin(lane_of(0), 0, 0)
    assert encoder.reached.wait(WAIT)
    gone = lane_of(1)
    worker.begin(gone, 1, 0)
    gone.left = True
    encoder.open.set()
    worker.close()
    assert len(encoder.timesteps) == 1


def test_the_loop_waits_for_what_is_begun_and_computes_the_rest_itself() -> None:
    encoder = Held()
    features = features_of(encoder)
    begun, rest = lane_of(0), lane_of(1)
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.submit(features.ahead, needed_items(begun, 0, 1))
        assert encoder.reached.wait(WAIT)
        wanted = [(lane.spec.streams[1], lane.spec.plan.timesteps) for lane in (begun, rest)]
        found = pool.submit(features.at, wanted)
        wait_until(lambda: len(encoder.timesteps) == 2)
        encoder.open.set()
        ahead.result(WAIT)
        together = found.result(WAIT)
    assert len(encoder.timesteps) == 2, "each once, neither twice"
    for lane, tokens in zip((begun, rest), together, strict=True):
        single = features_of(FakeReferenceEncoder()).at([(lane.spec.streams[1], lane.spec.plan.timesteps)])[0]
        for one, other in zip(tokens, single, strict=True):
            np.testing.assert_array_equal(one, other)
    assert (features.use.hits, features.use.misses) == (0, 2)
    features.check_integrity()


def test_what_fails_beside_the_loop_is_tried_again_where_it_is_needed() -> None:
    class Once(FakeReferenceEncoder):
        def run(self, feeds: Feeds) -> Results:
            self.batches.append(0)
            if len(self.batches) == 1:
                raise RuntimeError("the graph broke")
            return super().run(feeds)

    features = features_of(Once())
    worker = FeatureWorker(features, lookahead=2, max_rows=4)
    lane = lane_of()
    worker.begin(lane, 0, 0)
    wait_until(lambda: lane.first_features)
    worker.close()
    assert features.at([(lane.spec.streams[1], lane.spec.plan.timesteps)])
    features.check_integrity()


@settings(max_examples=20, deadline=None)
@given(
    threads=st.integers(2, 4), max_bytes=st.sampled_from([0, 400, 2**20]), seeds=st.lists(st.integers(0, 3), min_size=4)
)
def test_many_threads_compute_each_feature_once(threads: int, max_bytes: int, seeds: list[int]) -> None:
    encoder = FakeReferenceEncoder()
    features = features_of(encoder, max_bytes)
    lanes = [lane_of(seed, steps=3) for seed in seeds]
    start = Barrier(threads)

    def work(k: int) -> None:
        start.wait(WAIT)
        for lane in lanes[k::threads]:
            for step in range(3):
                features.at([(lane.spec.streams[1], lane.spec.plan.timesteps[step:])])
                features.ahead(needed_items(lane, 0, 3))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    features.check_integrity()
    assert not features._begun
    if max_bytes == 2**20:
        assert features.use.rows == 3 * len(set(seeds))


def test_steps_find_their_features_there(concepts: Concepts, loops: Callable[..., EngineLoop]) -> None:
    """A denoiser that gives the worker time: every step finds what it asks."""

    class Patient(FakeDenoiser):
        def run(self, feeds: Feeds) -> Results:
            results = super().run(feeds)
            steps = min(len(self.batches) + 1, 12)
            wait_until(lambda: features.use.entries >= 2 * steps)
            return results

    loop = loops(concepts.load, denoiser=Patient())
    features = loop.engine.references
    spec = make_spec(digest=concepts.digests[0], steps=12)
    result = loop.submit([spec], NO_DEADLINE).result(WAIT)
    np.testing.assert_array_equal(result.latents[0], alone(concepts, spec))
    assert (loop.use.feature_misses, loop.use.feature_hits) == (0, 24)
    assert loop.use.swaps == 1


def test_others_go_on_while_a_package_is_read(concepts: Concepts, loops: Callable[..., EngineLoop]) -> None:
    release = Event()

    def load(digest: str) -> Any:
        assert digest != concepts.digests[0] or release.wait(WAIT)
        return concepts.load(digest)

    loop = loops(load)
    slow = loop.submit([make_spec(digest=concepts.digests[0], steps=2)], NO_DEADLINE)
    others = [make_spec(seed=k, digest=digest, steps=3) for k, digest in enumerate(("", concepts.digests[1]))]
    for spec in others:
        result = loop.submit([spec], NO_DEADLINE).result(WAIT)
        np.testing.assert_array_equal(result.latents[0], alone(concepts, spec))
    assert not slow.done()
    release.set()
    assert slow.result(WAIT).use.first_step > 3


def test_a_request_is_cancelled_while_its_package_is_read(concepts: Concepts, loops: Callable[..., EngineLoop]) -> None:
    release = Event()

    def load(digest: str) -> Any:
        assert release.wait(WAIT)
        return concepts.load(digest)

    loop = loops(load)
    future = loop.submit([make_spec(digest=concepts.digests[0])], NO_DEADLINE)
    future.cancel()
    wait_until(lambda: loop.pictures == 0)
    release.set()
    with pytest.raises(CancelledError):
        future.result(0)
    loop.check_integrity()


def test_a_package_that_cannot_be_read_fails_its_own_request(
    concepts: Concepts, loops: Callable[..., EngineLoop]
) -> None:
    def load(digest: str) -> Any:
        if digest == "gone":
            raise ConceptNotFound("concept", "gone")
        return concepts.load(digest)

    loop = loops(load)
    futures = [loop.submit([make_spec(digest=d)], NO_DEADLINE) for d in ("gone", concepts.digests[0], "gone")]
    for future in futures[::2]:
        with pytest.raises(ConceptNotFound):
            future.result(WAIT)
    assert futures[1].result(WAIT)


def test_a_package_that_fails_after_the_engine_looked_ends_no_other_lane(
    concepts: Concepts, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Event()

    def load(digest: str) -> Any:
        assert looked.wait(WAIT)
        raise ConceptNotFound("concept", "gone")

    engine = make_engine(load, threads=True)
    other, lane = engine.submit(make_spec()), engine.submit(make_spec(digest="gone"))
    engine.schedule()
    wait_until(lambda: lane.first_features)
    unread = engine._entrance.unread

    def looks_too_early() -> Any:
        found = unread()
        looked.set()
        wait_until(lambda: bool(engine._entrance.packages.errors()))
        return found

    monkeypatch.setattr(engine._entrance, "unread", looks_too_early)
    assert engine.schedule() == [other]
    assert not lane.left
    engine.schedule()
    assert isinstance(lane.error, ConceptNotFound)
    engine.close()


def test_a_broken_reference_graph_fails_requests_and_hangs_nobody(
    concepts: Concepts, loops: Callable[..., EngineLoop]
) -> None:
    loop = loops(concepts.load, encoder=Failing())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the graph broke"):
            loop.submit([make_spec(digest=concepts.digests[0])], NO_DEADLINE).result(WAIT)
    plain = make_spec()
    np.testing.assert_array_equal(loop.submit([plain], NO_DEADLINE).result(WAIT).latents[0], alone(concepts, plain))


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(
        st.fixed_dictionaries(
            {
                "seed": st.integers(0, 3),
                "steps": st.integers(1, 6),
                "guidance_scale": st.sampled_from([1.0, 7.5]),
                "side": st.sampled_from([2, 4]),
                "concept": st.integers(-1, 3),
                "references": st.integers(1, 2),
                "fixed_context": st.booleans(),
            }
        ),
        min_size=1,
        max_size=10,
    ),
    slots=st.integers(1, 3),
    max_lanes=st.integers(1, 5),
    reference_bytes=st.sampled_from([0, 500, 2**20]),
)
def test_pictures_are_the_same_whatever_is_prepared_beside_them(
    concepts: Concepts, kinds: list[dict[str, Any]], slots: int, max_lanes: int, reference_bytes: int
) -> None:
    engine = make_engine(concepts.load, slots, max_lanes, reference_bytes=reference_bytes, threads=True)
    loop = EngineLoop(engine, 64)
    specs = [
        make_spec(digest=concepts.digests[k] if k >= 0 else "", **{n: v for n, v in kind.items() if n != "concept"})
        for kind in kinds
        for k in [kind["concept"]]
    ]
    futures = [loop.submit([spec], NO_DEADLINE) for spec in specs]
    for future, spec in zip(futures, specs, strict=True):
        np.testing.assert_array_equal(future.result(WAIT).latents[0], alone(concepts, spec))
    loop.close(WAIT)
    loop.check_integrity()
    engine.bank.check_integrity(concepts.load)
