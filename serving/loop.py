"""The loop: one thread that owns the engine. Requests come and go between steps; no request can end another."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread

from serving.deadline import Deadline
from serving.engine import Engine
from serving.errors import Overloaded, ShuttingDown
from serving.lane import FloatArray, Lane, LaneSpec

logger = logging.getLogger("vico.serving")


@dataclass(frozen=True)
class BatchUse:
    """How a request shared the running batch. Steps are counted since the loop began, over all requests."""

    first_step: int = 0
    """The first step with a lane of the request."""
    last_step: int = 0
    lanes: int = 0
    """Most lanes in one of its steps, those of other requests included."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """A request's pictures, as latents."""

    latents: list[FloatArray]
    """[4, h, w] each, in the order of the specs."""
    use: BatchUse


@dataclass(eq=False)
class _Request:
    """A request under way; all but `future` belongs to the loop's thread."""

    specs: tuple[LaneSpec, ...]
    deadline: Deadline
    future: Future[Outcome] = field(default_factory=Future)
    lanes: list[Lane] = field(default_factory=list)
    use: BatchUse = BatchUse()

    def saw(self, step: int, lanes: int) -> None:
        """Count a step that some of its lanes took."""
        self.use = BatchUse(self.use.first_step or step, step, max(lanes, self.use.lanes))


class EngineLoop:
    """Runs the engine's steps while there is work, and sleeps otherwise.

    Between two steps the lanes of new requests join, and those of cancelled and of late requests leave.

    Args:
        engine: from now on only this loop's thread touches it.
        max_queue: pictures that may wait beyond those in the running batch.
    """

    def __init__(self, engine: Engine, max_queue: int) -> None:
        self.engine = engine
        self._capacity = engine.max_lanes + max_queue
        self._wake = Condition()
        self._inbox: list[_Request] = []
        self._pictures = 0
        self._closing = self._abandoned = False
        self._requests: list[_Request] = []
        self._owner: dict[Lane, _Request] = {}
        self._steps = 0
        self._thread = Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._steps

    @property
    def pictures(self) -> int:
        """Pictures accepted and not yet settled."""
        return self._pictures

    def submit(self, specs: Sequence[LaneSpec], deadline: Deadline) -> Future[Outcome]:
        """Queue the pictures of one request, all or none; from any thread.

        Returns:
            Done when every picture is, or with the error of the first that failed. Cancelling it frees the lanes
            before the next step.

        Raises:
            Overloaded: the queue has not that much room.
            ShuttingDown: `close` was called.
        """
        request = _Request(tuple(specs), deadline)
        with self._wake:
            if self._closing:
                raise ShuttingDown("request", "the server is shutting down", "the same request later")
            room = self._capacity - self._pictures
            if len(specs) > room:
                problem = f"{len(specs)} pictures, and the queue has room for {room}"
                raise Overloaded("num_images", problem, "fewer, or the same request later")
            self._pictures += len(specs)
            self._inbox.append(request)
            self._wake.notify()
        return request.future

    def close(self, grace_seconds: float) -> None:
        """Accept nothing more, finish what was accepted within the grace period, refuse the rest, end the thread."""
        for abandoned in (False, True):
            with self._wake:
                self._closing, self._abandoned = True, abandoned
                self._wake.notify()
            self._thread.join(grace_seconds)

    def _run(self) -> None:
        while self._await_work():
            try:
                self._tick()
            except Exception:
                logger.exception("the engine broke: its lanes are dropped")
                self._drop_all()

    def _await_work(self) -> bool:
        """Sleep until there is something to do; False when all was done and the loop is closing."""
        with self._wake:
            while not (self._inbox or self._requests or self._closing):
                self._wake.wait()
            self._requests += self._inbox
            self._inbox.clear()
        return bool(self._requests)

    def _tick(self) -> None:
        for request in list(self._requests):
            self._admit_or_end(request)
        batch = self.engine.schedule()
        if batch:
            self._steps += 1
        for request in {self._owner[lane] for lane in batch}:
            request.saw(self._steps, len(batch))
        stepped = self._predict(batch)
        for lane in self.engine.advance([lane for lane, _ in stepped], [noise for _, noise in stepped]):
            self._ended(lane)

    def _admit_or_end(self, request: _Request) -> None:
        if self._abandoned:
            self._settle(request, ShuttingDown("request", "the server is shutting down", "the same request later"))
        elif request.future.cancelled():
            self._settle(request, None)
        elif (late := request.deadline.passed()) is not None:
            self._settle(request, late)
        elif not request.lanes:
            request.lanes = [self.engine.submit(spec) for spec in request.specs]
            self._owner |= dict.fromkeys(request.lanes, request)

    def _predict(self, batch: list[Lane]) -> list[tuple[Lane, FloatArray]]:
        """The noise of every lane. If the batch breaks, each is tried by itself, and only those that break leave."""
        if not batch:
            return []
        try:
            return list(zip(batch, self.engine.run(batch), strict=True))
        except Exception as error:
            if len(batch) == 1:
                self.engine.fail(batch[0], error)
                return []
            logger.exception("a batch of %d lanes broke: each is tried by itself", len(batch))
        return [pair for lane in batch for pair in self._predict([lane])]

    def _ended(self, lane: Lane) -> None:
        request = self._owner.get(lane)
        if request is None:
            return
        if lane.error is not None:
            self._settle(request, lane.error)
        elif all(other.done for other in request.lanes):
            self._settle(request, None)

    def _settle(self, request: _Request, error: Exception | None) -> None:
        """Take the request's lanes out, and tell whoever waits. Without an error its pictures are done."""
        for lane in request.lanes:
            self._owner.pop(lane, None)
            self.engine.cancel(lane)
        self._requests.remove(request)
        with self._wake:
            self._pictures -= len(request.specs)
        if not request.future.set_running_or_notify_cancel():
            return
        if error is None:
            request.future.set_result(Outcome([lane.state.latent for lane in request.lanes], request.use))
        else:
            request.future.set_exception(error)

    def _drop_all(self) -> None:
        """After a fault in the engine itself, which leaves no lane to be trusted."""
        self.engine.clear()
        for request in list(self._requests):
            self._settle(request, RuntimeError("the engine broke"))
