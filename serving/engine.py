"""The engine: `schedule → run → advance`, one step of the running batch at a time. Knows nothing of Triton."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from serving.ahead import FeatureWorker
from serving.bank import SlotBank
from serving.batch import Assembler, parts, split_noise
from serving.entrance import Entrance, Running, most_rows
from serving.lane import FloatArray, Lane, LaneSpec
from serving.preparing import Load, Mark, Packages
from serving.references import ReferenceFeatures
from serving.refusals import beyond_numbers
from serving.runner import Runner
from serving.scheduling import DEFAULT_POLICY, NO_CLAIM, Batching, Claim, Policy, Room, SizeClass, Turn, next_turn
from vico.concept import SiteSpec
from vico.sampling import advance


@dataclass(frozen=True)
class EngineOptions:
    """How lanes are chosen."""

    max_rows: int = 0
    """Denoiser rows of one step; 0 = two for each lane."""
    run_pixels: int = 0
    """Latent pixels of one run of the denoiser, all rows together: a step may take several; 0 = one run a step."""
    batching: Batching = "in_flight"
    policy: Policy = DEFAULT_POLICY


DEFAULT_OPTIONS = EngineOptions()


class Engine:
    """Lanes join and leave between steps. A picture depends on its own spec only, not on its neighbours.

    Args:
        denoiser: the graph of that name.
        references: reference features.
        bank: the resident concepts.
        load: a concept's package by digest, when it is not resident.
        sites: in decoder order.
        max_lanes: lanes under way at once; further ones wait.
        options: how lanes are chosen.
        clock: seconds; the clock of the claims.
        executor: where packages are read; None = between steps.
        ahead: computes reference features before they are needed; None = they are computed when they are missing.
        beside: where work is done while a step runs; one thread; None = it is done between steps.
        mark: told now and then, where packages are read, which of them waiting lanes will need.
    """

    def __init__(
        self,
        denoiser: Runner,
        references: ReferenceFeatures,
        bank: SlotBank,
        load: Load,
        sites: Sequence[SiteSpec],
        max_lanes: int,
        options: EngineOptions = EngineOptions(),
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
        ahead: FeatureWorker | None = None,
        beside: Executor | None = None,
        mark: Mark = lambda _: None,
    ) -> None:
        self._denoiser = denoiser
        self.references = references
        self.bank = bank
        self._meanwhile: Callable[[], None] = lambda: None
        self._assembler = Assembler(sites, references, beside)
        self._clock = clock
        self._run_pixels = options.run_pixels
        self.policy = options.policy
        self.room = Room(max_lanes, options.max_rows or 2 * max_lanes, options.batching)
        self._ahead = ahead
        self._entrance = Entrance(bank, Packages(load, executor, mark=mark), ahead, self.room, options.policy)
        self._running: Running = {}
        self._stepped: dict[SizeClass, float] = {}
        self._failed: list[Lane] = []
        self._steps = 0
        self.runs = 0
        """Of the denoiser so far; a step takes one or several."""

    @property
    def max_lanes(self) -> int:
        """Lanes under way at once."""
        return self.room.lanes

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to do."""
        return not (len(self._entrance) or self._running or self._failed)

    @property
    def running(self) -> list[Lane]:
        """The lanes under way."""
        return [lane for lanes in self._running.values() for lane in lanes]

    @property
    def waiting(self) -> int:
        """Lanes that have not joined yet."""
        return len(self._entrance)

    def order(self, newcomers: Sequence[Lane]) -> list[Lane]:
        """The waiting lanes, and `newcomers` with them, as they would join if nothing else came."""
        return self._entrance.order(self._clock(), newcomers)

    def wake_with(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, from another thread, whenever a lane may have become ready to join."""
        self._entrance.packages.wake = wake
        if self._ahead is not None:
            self._ahead.wake = wake

    def work_with(self, meanwhile: Callable[[], None]) -> None:
        """Have `meanwhile` called while a step runs, from another thread; or before it, if there is none."""
        self._meanwhile = meanwhile

    def submit(self, spec: LaneSpec, claim: Claim = NO_CLAIM) -> Lane:
        """Queue a picture; it joins at a step with room, when what it needs of its concept is there."""
        return self.enter(Lane(spec, claim))

    def enter(self, lane: Lane) -> Lane:
        """Queue a new lane."""
        self._entrance.add(lane)
        return lane

    def step(self) -> list[Lane]:
        """One denoising step of one size class; returns the lanes that ended, done or with an error."""
        batch = self.schedule()
        self.look_ahead(batch)
        return self.advance(batch, self.run(batch) if batch else [])

    def schedule(self) -> list[Lane]:
        """Let waiting lanes join, then pick the size class whose turn it is; empty if nothing runs."""
        now = self._clock()
        self._entrance.prepare(self.running, self._steps, now)
        for lane, error in self._entrance.unread():
            self.fail(lane, error)
        for lane in self._entrance.admit(self._running, now):
            self._stepped.setdefault(lane.spec.size_class, now)
        if not self._running:
            return []
        size_class = self._next_size_class(now)
        self._stepped[size_class] = now
        # last in the order of those that are equally urgent
        self._running[size_class] = self._running.pop(size_class)
        self._steps += 1
        return list(self._running[size_class])

    def look_ahead(self, batch: Sequence[Lane]) -> None:
        """Have computed what the lanes of a step will need in those after it; any time after `schedule`."""
        if self._ahead is not None:
            for lane in batch:
                self._ahead.follow(lane, self._steps, self.policy.due(lane.claim))

    def run(self, batch: Sequence[Lane]) -> list[FloatArray]:
        """Predict the noise of every lane of `batch`, guided: [4, h, w] each."""
        predicted: list[FloatArray] = []
        for part in parts(batch, self._run_pixels):
            feeds = self._assembler.feeds(part, self.bank.arrays)
            if not predicted:
                # not before the inputs are complete: numpy lets other threads in where it copies
                self._assembler.expect(part if len(part) == len(batch) else [], self._meanwhile)
            predicted += split_noise(part, self._denoiser.run(feeds)["noise"])
            self.runs += 1
        return predicted

    def advance(self, batch: Sequence[Lane], noise: Sequence[FloatArray]) -> list[Lane]:
        """Take every lane one step on; returns the lanes that ended."""
        for lane, predicted in zip(batch, noise, strict=True):
            lane.state = advance(lane.spec.plan, lane.state, predicted)
        ended = [lane for lane in batch if lane.done]
        for lane in ended:
            if not np.isfinite(lane.state.latent).all():
                lane.error = beyond_numbers(lane.spec.concept is not None)
            self._leave(lane)
        ended, self._failed = ended + self._failed, []
        return ended

    def cancel(self, lane: Lane) -> None:
        """Take a lane out, wherever it is; nothing happens if it has ended."""
        if self._entrance.remove(lane):
            lane.left = True
        elif lane in self._running.get(lane.spec.size_class, ()):
            self._leave(lane)

    def fail(self, lane: Lane, error: Exception) -> None:
        """Take a lane out for a reason; the next `advance` returns it among those that ended."""
        self.cancel(lane)
        lane.error = error
        self._failed.append(lane)

    def clear(self) -> None:
        """Drop every lane, whatever state a fault has left things in; resident concepts stay."""
        for lane in [*self._entrance.clear(), *self.running, *self._failed]:
            lane.left = True
        self._running.clear()
        self._stepped.clear()
        self._failed.clear()
        self.bank.unpin_all()

    def close(self) -> None:
        """End what works beside the engine."""
        self._entrance.packages.close()
        self._assembler.close()
        if self._ahead is not None:
            self._ahead.close()

    def check_integrity(self) -> None:
        """Raise AssertionError if a lane's slot is not its concept's, a pin outlived its lane, or a bound is broken."""
        lanes = self.running
        self.bank.check_integrity()
        self.bank.check_pins([lane.spec.concept.digest for lane in lanes if lane.spec.concept])
        for lane in lanes:
            if lane.spec.concept and self.bank.slot_of(lane.spec.concept.digest) != lane.slot:
                raise AssertionError(f"a lane reads slot {lane.slot}, which is not its concept's")
        if len(lanes) > self.room.lanes or self._stepped.keys() != self._running.keys():
            raise AssertionError(f"{len(lanes)} lanes under way, in {len(self._stepped)} size classes")
        if any(len(peers) > 1 and most_rows(peers) > self.room.rows for peers in self._running.values()):
            raise AssertionError("a batch has more rows than it may")
        self._entrance.check_integrity()
        self.references.check_integrity()
        if self._ahead is not None:
            self._ahead.check_integrity()

    def _next_size_class(self, now: float) -> SizeClass:
        if len(self._running) == 1:
            return next(iter(self._running))
        turns = {size_class: self._turn(size_class, lanes) for size_class, lanes in self._running.items()}
        return next_turn(turns, now, self.policy)

    def _turn(self, size_class: SizeClass, lanes: Sequence[Lane]) -> Turn:
        claims = [lane.claim for lane in lanes]
        due = min(self.policy.due(claim) for claim in claims)
        return Turn(max(claim.priority for claim in claims), due, self._stepped[size_class])

    def _leave(self, lane: Lane) -> None:
        lanes = self._running[lane.spec.size_class]
        lanes.remove(lane)
        lane.left = True
        if not lanes:
            del self._running[lane.spec.size_class], self._stepped[lane.spec.size_class]
        if lane.spec.concept is not None:
            self.bank.release(lane.spec.concept.digest)
