"""The loop's thread: requests come and go between steps, and nothing that one does touches another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from threading import Event, Lock, current_thread
from typing import Any, ClassVar

import numpy as np
import pytest
from fake_runners import Concepts, FakeDenoiser, make_engine, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.deadline import Deadline
from serving.errors import ConceptNotFound, DeadlineExceeded, Overloaded, ServingError, ShuttingDown
from serving.lane import FloatArray, LaneSpec
from serving.loop import EngineLoop, Outcome
from serving.runner import Feeds, Results
from serving.stages.stage import NO_DEADLINE
from serving.use import Ending, Observer

WAIT = 20.0


class Scripted(FakeDenoiser):
    """Does something before a step; a latent that is not finite breaks the whole batch."""

    def __init__(self, *actions: tuple[int, Callable[[], Any]]) -> None:
        super().__init__()
        self.actions = list(actions)
        self.calls = 0

    def run(self, feeds: Feeds) -> Results:
        self.calls += 1
        for at, action in self.actions:
            if at == self.calls:
                action()
        if not np.isfinite(feeds["latent"]).all():
            raise RuntimeError("/secret/path: the graph broke")
        return super().run(feeds)


class Gate(FakeDenoiser):
    """Every step waits until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.open = Event(), Event()

    def run(self, feeds: Feeds) -> Results:
        self.reached.set()
        assert self.open.wait(WAIT)
        return super().run(feeds)


class Patience(Deadline):
    """A deadline that passes when the test says so."""

    over: ClassVar[list[bool]] = []

    def passed(self, now: float | None = None) -> DeadlineExceeded | None:
        return DeadlineExceeded("timeout", "passed") if self.over else None


class LateOnce(Deadline):
    """A deadline that passes between the coming of a request and its first step."""

    def passed(self, now: float | None = None) -> DeadlineExceeded | None:
        asked, self.__dict__["asked"] = self.__dict__.get("asked", False), True
        return DeadlineExceeded("timeout", "passed") if asked else None


class Counting(Observer):
    """Counts steps, in whatever thread; may break at one."""

    def __init__(self, breaks: bool = False) -> None:
        self.steps = self.rows = self.queued_requests = 0
        self.work: list[int] = []
        self.threads: list[str] = []
        self.counted = Event()
        self._breaks = breaks

    def refused(self, reason: str) -> None:
        raise AssertionError(reason)

    def queued(self, seconds: float) -> None:
        self.queued_requests += 1

    def stepped(self, seconds: float, lanes: int, rows: int) -> None:
        self.steps += 1
        self.rows += rows
        self.threads.append(current_thread().name)
        self.counted.set()
        if self._breaks:
            raise RuntimeError("an observer broke")

    def ended(self, ending: Ending, seconds: float, work: int) -> None:
        self.work.append(work)


@pytest.fixture(scope="module")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Concepts:
    return Concepts(tmp_path_factory.mktemp("concepts"), 4)


@pytest.fixture
def loops() -> Iterator[Callable[..., EngineLoop]]:
    made: list[EngineLoop] = []

    def make(load: Any = None, max_queue: int = 64, observers: Sequence[Observer] = (), **options: Any) -> EngineLoop:
        made.append(EngineLoop(make_engine(load, **options), max_queue, observers=observers))
        return made[-1]

    yield make
    for loop in made:
        loop.close(WAIT)
        assert not loop._thread.is_alive()
        assert loop.pictures == 0
        loop.engine.check_integrity()


def poisoned(**fields: Any) -> LaneSpec:
    spec = make_spec(**fields)
    return replace(spec, noise=np.full_like(spec.noise, np.nan))


def alone(concepts: Concepts, spec: LaneSpec) -> FloatArray:
    engine = make_engine(concepts.load)
    lane = engine.submit(spec)
    while not engine.idle:
        engine.step()
    return lane.state.latent


KINDS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 5),
        "steps": st.integers(1, 5),
        "sampler": st.sampled_from(["ddim", "dpmpp_2m"]),
        "guidance_scale": st.sampled_from([1.0, 2.5, 7.5]),
        "side": st.sampled_from([2, 4]),
        "concept": st.integers(-1, 3),
    }
)
REQUESTS = st.fixed_dictionaries(
    {
        "arrives": st.integers(0, 8),
        "cancelled": st.one_of(st.none(), st.integers(0, 12)),
        "fate": st.sampled_from(["good", "good", "good", "broken", "late", "lost"]),
        "pictures": st.lists(KINDS, min_size=1, max_size=3),
    }
)


@settings(max_examples=80, deadline=None)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=7), slots=st.integers(1, 3), max_lanes=st.integers(1, 5))
def test_whatever_comes_and_goes_every_picture_is_the_one_made_alone(
    concepts: Concepts, requests: list[dict[str, Any]], slots: int, max_lanes: int
) -> None:
    def load(digest: str) -> Any:
        if digest == "gone":
            raise ConceptNotFound("concept", "gone")
        return concepts.load(digest)

    denoiser = Scripted()
    loop = EngineLoop(make_engine(load, slots, max_lanes, denoiser), max_queue=64)
    futures: dict[int, Future[Outcome]] = {}
    specs = [[_spec(concepts, kind, request["fate"]) for kind in request["pictures"]] for request in requests]

    arriving = Lock()

    def arrive(k: int) -> None:
        # once: it is called by the loop's thread and by this one, and a second coming would find the loop closing
        with arriving:
            if k not in futures:
                # a deadline that has not passed when the request comes, and has before a step is taken
                late = requests[k]["fate"] == "late"
                futures[k] = loop.submit(specs[k], LateOnce() if late else NO_DEADLINE)

    def leave(k: int) -> None:
        if k in futures:
            futures[k].cancel()

    for k, request in enumerate(requests):
        # in the loop's own thread, so that the step at which each comes and goes is fixed
        denoiser.actions.append((request["arrives"], lambda k=k: arrive(k)))  # type: ignore[misc]
        if request["cancelled"] is not None:
            denoiser.actions.append((request["cancelled"], lambda k=k: leave(k)))  # type: ignore[misc]
    for k, request in enumerate(requests):
        if request["arrives"] == 0:
            arrive(k)
    while len(futures) < len(requests):
        time.sleep(0.001)
        if loop.pictures == 0:
            for k in range(len(requests)):
                arrive(k)
    loop.close(WAIT)
    for k, request in enumerate(requests):
        assert futures[k].done(), "no request is lost"
        if request["cancelled"] is not None and futures[k].cancelled():
            continue
        _check_fate(concepts, futures[k], request["fate"], specs[k])
    assert loop.pictures == 0
    assert loop.engine.idle
    loop.engine.check_integrity()
    loop.engine.bank.check_integrity(concepts.load)


def _spec(concepts: Concepts, kind: dict[str, Any], fate: str) -> LaneSpec:
    index = kind["concept"]
    digest = "gone" if fate == "lost" else concepts.digests[index] if index >= 0 else ""
    fields = {name: value for name, value in kind.items() if name != "concept"}
    return (poisoned if fate == "broken" else make_spec)(digest=digest, **fields)


def _check_fate(concepts: Concepts, future: Future[Outcome], fate: str, specs: list[LaneSpec]) -> None:
    errors = {"broken": RuntimeError, "late": DeadlineExceeded, "lost": ConceptNotFound}
    if fate in errors:
        assert isinstance(future.exception(0), errors[fate])
        return
    latents = future.result(0).latents
    assert len(latents) == len(specs)
    for latent, spec in zip(latents, specs, strict=True):
        np.testing.assert_array_equal(latent, alone(concepts, spec))


def test_requests_share_steps_and_say_so(loops: Callable[..., EngineLoop]) -> None:
    gate = Gate()
    loop = loops(denoiser=gate)
    first = loop.submit([make_spec(steps=3)], NO_DEADLINE)
    assert gate.reached.wait(WAIT)
    second = loop.submit([make_spec(steps=1), make_spec(steps=4)], NO_DEADLINE)
    gate.open.set()
    one, two = first.result(WAIT).use, second.result(WAIT).use
    assert (one.first_step, one.last_step, one.lanes, one.steps) == (1, 3, 3, 3)
    assert (two.first_step, two.last_step, two.lanes, two.steps) == (2, 5, 3, 4)
    assert one.predicted_seconds is None, "nothing was measured yet"
    assert 0 <= two.queue_seconds < two.seconds
    assert gate.batches == [2, 6, 4, 2, 2]
    assert loop.steps == 5


def test_a_step_is_under_way_until_it_is_long_overdue(
    loops: Callable[..., EngineLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    loop = loops(denoiser=gate)
    assert not loop.in_a_step
    asked = loop.submit([make_spec(steps=3)], NO_DEADLINE)
    assert gate.reached.wait(WAIT)
    assert loop.in_a_step, "of which nothing is known yet"
    with monkeypatch.context() as patched:
        patched.setattr("serving.conductor._LONGEST_STEP", 0.0)
        assert not loop.in_a_step
    gate.open.set()
    asked.result(WAIT)
    gate.reached.clear()
    gate.open.clear()
    asked = loop.submit([make_spec(steps=1)], NO_DEADLINE)
    assert gate.reached.wait(WAIT)
    assert loop.in_a_step, "a busy machine may take some times as long"
    for name in ("_SHORTEST_PATIENCE", "_OVERDUE"):
        monkeypatch.setattr(f"serving.conductor.{name}", 0.0)
    assert not loop.in_a_step
    gate.open.set()
    asked.result(WAIT)


def test_a_deadline_frees_the_lanes_before_the_next_step(loops: Callable[..., EngineLoop]) -> None:
    patience = Patience()
    denoiser = Scripted((2, lambda: patience.over.append(True)))
    loop = loops(denoiser=denoiser)
    gone = loop.submit([make_spec(steps=9), make_spec(steps=9)], patience)
    with pytest.raises(DeadlineExceeded, match="timeout"):
        gone.result(WAIT)
    assert denoiser.batches == [4, 4]
    patience.over.clear()


def test_cancelling_frees_the_lanes_before_the_next_step(loops: Callable[..., EngineLoop]) -> None:
    started: list[Future[Outcome]] = []
    denoiser = Scripted((2, lambda: started[0].cancel()))
    gate = Event()
    denoiser.actions.append((1, lambda: gate.wait(WAIT)))
    loop = loops(denoiser=denoiser, max_lanes=3)
    started.append(loop.submit([make_spec(steps=9), make_spec(steps=9)], NO_DEADLINE))
    kept = loop.submit([make_spec(steps=4)], NO_DEADLINE)
    gate.set()
    kept.result(WAIT)
    with pytest.raises(CancelledError):
        started[0].result(WAIT)
    assert denoiser.batches[2:] == [2] * len(denoiser.batches[2:])


def test_a_batch_that_breaks_costs_nobody_but_the_lane_that_breaks_alone(
    concepts: Concepts, loops: Callable[..., EngineLoop]
) -> None:
    gate = Event()
    denoiser = Scripted((1, lambda: gate.wait(WAIT)))
    loop = loops(concepts.load, denoiser=denoiser)
    specs = [make_spec(seed=k, digest=concepts.digests[k % 2], steps=3) for k in range(3)]
    good = [loop.submit([spec], NO_DEADLINE) for spec in specs]
    bad = loop.submit([poisoned(digest=concepts.digests[0])], NO_DEADLINE)
    gate.set()
    with pytest.raises(RuntimeError, match="the graph broke"):
        bad.result(WAIT)
    for future, spec in zip(good, specs, strict=True):
        np.testing.assert_array_equal(future.result(WAIT).latents[0], alone(concepts, spec))


def test_one_broken_picture_ends_its_whole_request(loops: Callable[..., EngineLoop]) -> None:
    loop = loops(denoiser=Scripted())
    for request in ([poisoned(), make_spec(steps=50)], [poisoned(), poisoned()]):
        with pytest.raises(RuntimeError, match="the graph broke"):
            loop.submit(request, NO_DEADLINE).result(WAIT)
    assert loop.steps <= 2


def test_the_thread_outlives_a_fault_of_the_engine(
    concepts: Concepts, loops: Callable[..., EngineLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loops(concepts.load)
    spec = make_spec(digest=concepts.digests[0])
    with monkeypatch.context() as patch:
        patch.setattr(loop.engine, "advance", lambda *_: [][1])
        for _ in range(2):
            with pytest.raises(RuntimeError, match="the engine broke"):
                loop.submit([spec, spec], NO_DEADLINE).result(WAIT)
    assert loop.engine.idle
    np.testing.assert_array_equal(loop.submit([spec], NO_DEADLINE).result(WAIT).latents[0], alone(concepts, spec))


@pytest.mark.parametrize("threads", [False, True])
def test_the_accounts_agree_with_the_steps_taken(loops: Callable[..., EngineLoop], *, threads: bool) -> None:
    told, denoiser = Counting(), FakeDenoiser()
    loop = loops(denoiser=denoiser, observers=[told], threads=threads)
    futures = [loop.submit([make_spec(steps=k)] * 2, NO_DEADLINE) for k in (1, 2, 5)]
    uses = [future.result(WAIT).use for future in futures]
    # whoever has its pictures finds them counted
    assert told.work == sorted(told.work) == [4 * k for k in (1, 2, 5)]
    assert [use.steps for use in uses] == [1, 2, 5]
    assert told.rows == sum(denoiser.batches) == sum(told.work)
    assert told.steps == len(denoiser.batches) == loop.steps == loop.use.steps
    assert told.queued_requests == loop.use.started == 3
    assert loop.use.useful_row_steps == told.rows


def test_the_accounts_of_a_step_are_made_beside_the_next_one(loops: Callable[..., EngineLoop]) -> None:
    told = Counting()
    # those of the first are made at once: without any there are no forecasts
    denoiser = Scripted((2, told.counted.clear), (3, lambda: told.counted.wait(WAIT)))
    loop = loops(denoiser=denoiser, observers=[told], threads=True)
    loop.submit([make_spec(steps=3)], NO_DEADLINE).result(WAIT)
    assert told.threads[1] != "engine-loop", "no graph ran meanwhile"


def test_a_fault_in_the_accounts_ends_nobody(
    loops: Callable[..., EngineLoop], caplog: pytest.LogCaptureFixture
) -> None:
    told = Counting(breaks=True)
    loop = loops(observers=[told], threads=True)
    assert loop.submit([make_spec(steps=3)] * 2, NO_DEADLINE).result(WAIT).use.steps == 3
    assert told.steps == 3
    assert "accounts of a step" in caplog.text


def test_the_queue_is_bounded_and_takes_a_request_whole_or_not_at_all(loops: Callable[..., EngineLoop]) -> None:
    gate = Gate()
    loop = loops(denoiser=gate, max_lanes=2, max_queue=3)
    kept = [loop.submit([make_spec(steps=1)] * 2, NO_DEADLINE) for _ in range(2)]
    with pytest.raises(Overloaded, match=r"num_images: 2 pictures, and the queue has room for 1; accepted: fewer"):
        loop.submit([make_spec()] * 2, NO_DEADLINE)
    kept.append(loop.submit([make_spec(steps=1)], NO_DEADLINE))
    assert loop.pictures == 5
    gate.open.set()
    assert all(len(future.result(WAIT).latents) for future in kept)
    assert loop.submit([make_spec(steps=1)] * 5, NO_DEADLINE).result(WAIT)


def test_an_idle_loop_sleeps(loops: Callable[..., EngineLoop], monkeypatch: pytest.MonkeyPatch) -> None:
    loop = loops()
    loop.submit([make_spec(steps=1)], NO_DEADLINE).result(WAIT)
    turns: list[bool] = []
    monkeypatch.setattr(loop, "_tick", lambda: turns.append(True))
    time.sleep(0.1)
    assert not turns
    monkeypatch.undo()


def test_closing_finishes_what_was_accepted_and_takes_no_more(loops: Callable[..., EngineLoop]) -> None:
    loop = loops()
    futures = [loop.submit([make_spec(steps=5)], NO_DEADLINE) for _ in range(9)]
    loop.close(WAIT)
    assert all(future.result(0) for future in futures)
    with pytest.raises(ShuttingDown) as caught:
        loop.submit([make_spec()], NO_DEADLINE)
    assert isinstance(caught.value, ServingError)
    assert caught.value.status == "UNAVAILABLE"


def test_what_the_grace_period_is_too_short_for_is_refused(loops: Callable[..., EngineLoop]) -> None:
    gate = Gate()
    loop = loops(denoiser=gate)
    future = loop.submit([make_spec(steps=50)], NO_DEADLINE)
    assert gate.reached.wait(WAIT)
    loop.close(0.01)
    gate.open.set()
    with pytest.raises(ShuttingDown):
        future.result(WAIT)
    loop._thread.join(WAIT)
