"""The loop: one thread that owns the engine. Requests come and go between steps; no request can end another."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Condition, Thread

from serving.accounts import Step
from serving.conductor import NOBODY, Asker, Conductor
from serving.deadline import Deadline
from serving.engine import Engine
from serving.errors import DeadlineExceeded, Overloaded, ShuttingDown
from serving.lane import LaneSpec
from serving.scheduling.admission import Bounds
from serving.streaming.progress import Watch
from serving.ticket import BatchUse, Outcome
from serving.use import LoopUse, Observer

__all__ = ["Asker", "BatchUse", "EngineLoop", "Outcome"]

logger = logging.getLogger("vico.serving")


class EngineLoop:
    """Runs the engine's steps while there is work, and sleeps otherwise.

    Between two steps the lanes of new requests join, and those of cancelled and of late requests leave. The lock is
    held between steps and never during one, so that a request is let in or refused at once.

    Args:
        engine: from now on only this loop touches it.
        max_queue: pictures that may wait beyond those in the running batch.
        max_client_queue: the same for one client that has a name; None = as many.
        observers: told of every event.
    """

    def __init__(
        self, engine: Engine, max_queue: int, max_client_queue: int | None = None, observers: Sequence[Observer] = ()
    ) -> None:
        self.engine = engine
        queues = max_queue, max_queue if max_client_queue is None else min(max_client_queue, max_queue)
        self._conductor = Conductor(engine, Bounds(*(engine.max_lanes + n for n in queues)), observers=observers)
        self._wake = Condition()
        self._woken = False
        self._closing = self._abandoned = False
        self._under_way: Step | None = None
        engine.wake_with(self._notify)
        engine.work_with(self._catch_up)
        self._thread = Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._conductor.steps

    @property
    def pictures(self) -> int:
        """Pictures accepted and not yet settled."""
        return self._conductor.admission.pictures

    @property
    def occupancy(self) -> tuple[int, int]:
        """Pictures in the running batch, and those that wait for it; from any thread."""
        with self._wake:
            return len(self.engine.running), self.engine.waiting

    @property
    def in_a_step(self) -> bool:
        """Whether a step is under way that is not long overdue; from any thread."""
        with self._wake:
            step = self._under_way
            return step is not None and time.monotonic() < self._conductor.overdue_at(step)

    @property
    def use(self) -> LoopUse:
        """The counters now; from any thread."""
        with self._wake:
            return self._conductor.use

    def submit(
        self, specs: Sequence[LaneSpec], deadline: Deadline, asker: Asker = NOBODY, watch: Watch | None = None
    ) -> Future[Outcome]:
        """Queue the pictures of one request, all or none; from any thread. `watch` is told of its progress.

        Returns:
            Done when every picture is, or with the error of the first that failed. Cancelling it frees the lanes
            before the next step.

        Raises:
            DeadlineExceeded: the deadline has passed.
            Overloaded: the queue has not that much room, or the deadline cannot be met.
            ShuttingDown: `close` was called.
        """
        ticket = self._conductor.draft(specs, deadline, asker, watch)
        with self._wake:
            if self._closing:
                self._conductor.refused("shutting_down")
                raise _closing()
            self._conductor.accept(ticket)
        # also when it is cancelled while nothing runs
        ticket.future.add_done_callback(lambda _: self._notify())
        self._notify()
        return ticket.future

    def foresee(
        self, specs: Sequence[LaneSpec], deadline: Deadline, asker: Asker = NOBODY
    ) -> DeadlineExceeded | Overloaded | None:
        """Why these pictures would not be let in now; None: they would be, or the loop is closing. From any thread."""
        ticket = self._conductor.draft(specs, deadline, asker)
        with self._wake:
            return None if self._closing else self._conductor.refusal(ticket)

    def close(self, grace_seconds: float) -> None:
        """Accept nothing more, finish what was accepted within the grace period, refuse the rest, end the thread."""
        for abandoned in (False, True):
            with self._wake:
                self._closing, self._abandoned = True, abandoned
            self._notify()
            self._thread.join(grace_seconds)

    def check_integrity(self) -> None:
        """Raise AssertionError if the books do not agree; when no step is under way."""
        with self._wake:
            self._conductor.check_integrity()

    def _notify(self) -> None:
        with self._wake:
            self._woken = True
            self._wake.notify()

    def _run(self) -> None:
        while self._await_work():
            try:
                self._tick()
            except Exception:
                logger.exception("the engine broke: its lanes are dropped")
                self._drop_all()
        self.engine.close()

    def _await_work(self) -> bool:
        """Sleep while no request is under way; False when all was done and the loop is closing."""
        with self._wake:
            while not (self._conductor.busy or self._closing):
                self._wake.wait()
            return self._conductor.busy

    def _tick(self) -> None:
        with self._wake:
            self._woken = False
            if self._abandoned:
                self._conductor.end_all(_closing())
            step = self._under_way = self._conductor.begin_step()
        if step is None:
            self._conductor.deliver()
            self._await_change()
            return
        computed = self.engine.references.progress
        predictions = self._conductor.predict(step.lanes)
        beside = self.engine.references.progress - computed
        with self._wake:
            self._under_way = None
            self._conductor.finish_step(step, predictions, beside)
        self._conductor.deliver()

    def _catch_up(self) -> None:
        with self._wake:
            self._conductor.catch_up()

    def _await_change(self) -> None:
        """All that is under way waits for what is prepared beside the loop, or for its deadline."""
        with self._wake:
            if self._conductor.busy and not self._woken:
                seconds = self._conductor.wake_at() - time.monotonic()
                self._wake.wait(None if math.isinf(seconds) else max(seconds, 0.0))

    def _drop_all(self) -> None:
        """After a fault in the engine itself, which leaves no lane to be trusted."""
        with self._wake:
            self._under_way = None
            self.engine.clear()
            self._conductor.end_all(RuntimeError("the engine broke"))
        self._conductor.deliver()


def _closing() -> ShuttingDown:
    return ShuttingDown("request", "the server is shutting down", "the same request later")
