"""The worker beside the loop: computes reference features before a step asks for them, the most urgent first."""

from __future__ import annotations

import logging
from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Thread

from serving.lane import Lane, ReferenceStream
from serving.references import ReferenceFeatures

logger = logging.getLogger("vico.serving")

Items = tuple[tuple[ReferenceStream, int], ...]
"""Streams, each with a timestep."""


@dataclass(order=True, frozen=True)
class _Wish:
    """Features that a lane will need."""

    needed: float
    """Number of the engine's step that asks for them."""
    due: float
    serial: int
    first: bool = field(compare=False)
    """Whether the lane waits for them to join."""
    lane: Lane = field(compare=False)
    items: Items = field(compare=False)


class FeatureWorker:
    """One thread: with two, the denoiser would find no core free on a small machine.

    Every wish is tried once. What fails, or is dropped from the cache before it is used, the loop computes itself.

    Args:
        features: where they are kept, bounded in bytes.
        lookahead: steps that a lane is kept ahead.
        max_rows: of one run.
        wake: called when a lane's first features were tried.
    """

    def __init__(
        self, features: ReferenceFeatures, lookahead: int, max_rows: int, wake: Callable[[], None] = lambda: None
    ) -> None:
        self._features = features
        self._lookahead = lookahead
        self._max_rows = max_rows
        self.wake = wake
        self._changed = Condition()
        self._wishes: list[_Wish] = []
        self._serial = 0
        self._closing = False
        self._thread = Thread(target=self._run, name="reference-features", daemon=True)
        self._thread.start()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is asked for within the block is computed together: pictures of one request join at one step."""
        with self._changed:
            yield

    def begin(self, lane: Lane, step: int, due: float) -> None:
        """Ask for a waiting lane's first features, which it needs at the engine's step `step`."""
        if lane.foreseen == 0:
            lane.foreseen = 1
            self._add(lane, step, due, first=True, items=needed_items(lane, 0, 1))

    def follow(self, lane: Lane, step: int, due: float) -> None:
        """Keep a running lane ahead, in chunks: one run over several timesteps costs less than one for each."""
        index, total = lane.state.index, len(lane.spec.plan)
        begin, end = max(lane.foreseen, index + 1), min(index + 1 + self._lookahead, total)
        if begin >= end or (begin - index > self._lookahead // 2 and end < total):
            return
        lane.foreseen = end
        self._add(lane, step + begin - index, due, first=False, items=needed_items(lane, begin, end))

    def close(self) -> None:
        """End the thread after the run under way."""
        with self._changed:
            self._closing = True
            self._wishes.clear()
            self._changed.notify()
        self._thread.join()

    def check_integrity(self) -> None:
        """Raise AssertionError if wishes are out of order."""
        with self._changed:
            if self._wishes != sorted(self._wishes):
                raise AssertionError("wishes are out of order")

    def _add(self, lane: Lane, needed: float, due: float, *, first: bool, items: Items) -> None:
        with self._changed:
            self._serial += 1
            insort(self._wishes, _Wish(needed, due, self._serial, first, lane, items))
            self._changed.notify()

    def _run(self) -> None:
        while wishes := self._next():
            try:
                self._features.ahead(item for wish in wishes for item in wish.items)
            except Exception:
                logger.exception("reference features could not be computed ahead")
            firsts = [wish.lane for wish in wishes if wish.first]
            for lane in firsts:
                lane.first_features = True
            if firsts:
                self.wake()

    def _next(self) -> list[_Wish]:
        """The most urgent wish and, up to the rows of one run, those that come next; empty when closing.

        First features do not wait for a longer run.
        """
        with self._changed:
            while True:
                self._wishes = [wish for wish in self._wishes if not wish.lane.left]
                if self._wishes or self._closing:
                    break
                self._changed.wait()
            taken: list[_Wish] = []
            rows = 0
            while self._wishes and (not taken or (self._wishes[0].first == taken[0].first and rows < self._max_rows)):
                taken.append(self._wishes.pop(0))
                rows += sum(len(stream.concept.references) for stream, _ in taken[-1].items)
        return taken


def needed_items(lane: Lane, begin: int, end: int) -> Items:
    """What the lane's steps from `begin` to before `end` ask the reference stream."""
    timesteps = lane.spec.plan.timesteps
    return tuple((stream, timesteps[step]) for step in range(begin, end) for stream in lane.spec.streams_at(step))
