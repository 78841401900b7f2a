"""Requests over the engine: who is let in, who is ended, who gets what. No thread and no lock of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from serving.accounts import Accounts, Step, shape_of
from serving.ahead import needed_items
from serving.deadline import Deadline
from serving.engine import Engine
from serving.errors import DeadlineExceeded, Overloaded, ServingError
from serving.lane import FloatArray, Lane, LaneSpec
from serving.refusals import overloaded, unreachable
from serving.scheduling import DEFAULT_PRIORITY, Claim, CostModel
from serving.scheduling.admission import HOPE, Admission, Booking, Bounds, Refusal
from serving.streaming.progress import Progress, Watch
from serving.ticket import Ticket
from serving.use import Ending, LoopUse, Observer, Tally

_LONGEST_STEP = 900.0
"""Seconds that a step may take of which nothing is known: the first ones of a large picture on a processor."""
_SHORTEST_PATIENCE = 30.0
_OVERDUE = 8.0
"""Forecasts of it that a step may take, on a machine that has become busy."""

Prediction = FloatArray | Exception
"""A lane's guided noise [4, h, w], or why there is none."""


@dataclass(frozen=True)
class Asker:
    """Who asks, and how urgently."""

    client: str = ""
    priority: int = DEFAULT_PRIORITY


NOBODY = Asker()


class Conductor:
    """See the module. A loop calls `begin_step`, `predict` and `finish_step` in turn; only `predict` may run while
    another thread calls `accept` or `catch_up`.

    What need not be done between two steps is owed to `serving.accounts`: `catch_up` does it while the next step runs,
    and before anybody reads what it would change.

    Args:
        engine: only this conductor touches it.
        bounds: on what is accepted.
        clock: seconds, the engine's.
        observers: told of every event.
    """

    def __init__(
        self,
        engine: Engine,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.engine = engine
        self.cost = CostModel()
        self.admission = Admission(bounds, engine.room, self.cost)
        self.steps = 0
        self._clock = clock
        self._tally = Tally()
        self._observers: tuple[Observer, ...] = (self._tally, *observers)
        self._tickets: dict[Ticket, None] = {}
        self._owner: dict[Lane, Ticket] = {}
        self._ended: list[tuple[Ticket, Exception | None]] = []
        self._reports: list[tuple[Watch, Progress]] = []
        self._accounts = Accounts(engine, self.cost, self._owner, self._observers)
        self._unhurried: frozenset[Lane] = frozenset()
        self._unhurried_until = -math.inf

    @property
    def busy(self) -> bool:
        """Whether any request is under way."""
        return bool(self._tickets)

    @property
    def use(self) -> LoopUse:
        """The counters now."""
        self.catch_up()
        references = self.engine.references.use
        return self._tally.use(references.hits, references.misses, self.engine.bank.version)

    def draft(
        self, specs: Sequence[LaneSpec], deadline: Deadline, asker: Asker = NOBODY, watch: Watch | None = None
    ) -> Ticket:
        """A request's ticket, not yet accepted; from any thread."""
        arrived = self._clock()
        lanes = [Lane(spec, _claim(spec, deadline, asker, arrived)) for spec in specs]
        for streams, lane in {lane.spec.streams: lane for lane in lanes}.items():
            # pictures of one request read the same: it is computed once
            if streams:
                lane.beside = self.engine.references.missing(needed_items(lane, 0, len(lane.spec.plan)))
        return Ticket(lanes, deadline, asker.client, arrived, watch=watch)

    def accept(self, ticket: Ticket) -> None:
        """Let a request in: all of its pictures or none.

        Raises:
            DeadlineExceeded: the deadline has passed.
            Overloaded: the queue has no room, or the deadline cannot be met.
        """
        if (refusal := self.refusal(ticket)) is not None:
            raise refusal
        self.admission.hold(ticket.client, len(ticket.lanes))
        alone = self.admission.seconds([lane.course(self.engine.policy) for lane in ticket.lanes])
        ticket.latest_start = ticket.deadline.at - HOPE * (alone or 0.0)
        self._tickets[ticket] = None
        for lane in ticket.lanes:
            self._owner[lane] = ticket
            self.engine.enter(lane)

    def refusal(self, ticket: Ticket) -> DeadlineExceeded | Overloaded | None:
        """Why a request is not let in now, counted; None: it would be. Notes when its pictures would be done."""
        self.catch_up()
        if (late := ticket.deadline.passed(self._clock())) is not None:
            self.refused("deadline")
            return late
        refusal = self.admission.bounded(ticket.client, len(ticket.lanes))
        if refusal is None:
            ticket.predicted_seconds, refusal = self._foresee(ticket)
        if refusal is None:
            return None
        self.refused(refusal.reason)
        return overloaded(refusal, len(ticket.lanes), ticket.deadline.at - self._clock())

    def refused(self, reason: str) -> None:
        """Count a request that was not let in."""
        for observer in self._observers:
            observer.refused(reason)

    def begin_step(self) -> Step | None:
        """End what must end, let join what may, and choose the lanes of the next step; None if there are none."""
        # that of the step just taken is left to while this one runs; but without any there are no forecasts
        self.catch_up(but=1 if self.cost.known else 0)
        now = self._clock()
        for ticket in list(self._tickets):
            self._end_if_due(ticket, now)
        self._end_lost(now)
        batch = self.engine.schedule()
        if not batch:
            self.catch_up()
            self._collect(self.engine.advance([], []))
            return None
        self.steps += 1
        asked = tuple((lane.spec, lane.state.index) for lane in batch)
        step = Step(self.steps, batch, asked, self._clock())
        self._accounts.began(step, now)
        return step

    def predict(self, batch: Sequence[Lane]) -> list[tuple[Lane, Prediction]]:
        """The noise of every lane. If the batch breaks, each is tried by itself, and only those that break fail."""
        try:
            return list(zip(batch, self.engine.run(batch), strict=True))
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the lanes that cause it and no others
            if len(batch) == 1:
                return [(batch[0], error)]
        return [pair for lane in batch for pair in self.predict([lane])]

    def finish_step(self, step: Step, predictions: Sequence[tuple[Lane, Prediction]], beside: float = 0.0) -> None:
        """Take the lanes one step on, and end the requests whose pictures are done or have failed.

        Args:
            step: from `begin_step`.
            predictions: from `predict`.
            beside: rows of the reference stream that were computed meanwhile.
        """
        good = [(lane, noise) for lane, noise in predictions if not isinstance(noise, Exception)]
        for lane, error in predictions:
            if isinstance(error, Exception):
                self.engine.fail(lane, error)
        seconds = self._clock() - step.began
        whole = len(good) == len(step.lanes)
        self._accounts.done(step, seconds, beside if whole else None)
        ended = self.engine.advance([lane for lane, _ in good], [noise for _, noise in good])
        self._report({self._owner[lane]: None for lane in step.lanes})
        self._collect(ended)

    def catch_up(self, but: int = 0) -> None:
        """Make the accounts that are owed of steps, but for the newest few."""
        self._accounts.settle(but)

    def end_all(self, error: Exception) -> None:
        """End every request for one reason."""
        for ticket in list(self._tickets):
            self._end(ticket, error)

    def deliver(self) -> None:
        """Tell those who watch or wait for requests; calls them back, and so must hold no lock."""
        reports, self._reports = self._reports, []
        for watch, progress in reports:
            watch.tell(progress)
        ended, self._ended = self._ended, []
        for ticket, error in ended:
            if not ticket.future.set_running_or_notify_cancel():
                continue
            if error is None:
                ticket.future.set_result(ticket.outcome(self._clock()))
            else:
                ticket.future.set_exception(error)

    def overdue_at(self, step: Step) -> float:
        """When a step that began has taken so long, by what steps cost so far, that it may never end."""
        seconds = self.cost.step_seconds(shape_of(step.asked))
        return step.began + (_LONGEST_STEP if seconds is None else max(_SHORTEST_PATIENCE, _OVERDUE * seconds))

    def wake_at(self) -> float:
        """When the next deadline passes, seconds on the clock; infinite if none does."""
        return min((ticket.deadline.at for ticket in self._tickets), default=math.inf)

    def check_integrity(self) -> None:
        """Raise AssertionError if a request and its lanes, or the accounts, disagree."""
        self.engine.check_integrity()
        if self.admission.pictures != sum(len(ticket.lanes) for ticket in self._tickets):
            raise AssertionError("the account of accepted pictures is wrong")
        if set(self._owner.values()) != set(self._tickets):
            raise AssertionError("lanes and requests disagree")

    def _foresee(self, ticket: Ticket) -> tuple[float | None, Refusal | None]:
        policy, now = self.engine.policy, self._clock()
        bookings = {lane: Booking(lane.course(policy), lane.claim.deadline) for lane in ticket.lanes}

        def ordered(last: bool) -> list[Booking]:
            newcomers = list(bookings)
            lanes = [*self.engine.order([]), *newcomers] if last else self.engine.order(newcomers)
            return [bookings.get(lane) or _booking(lane, self.engine) for lane in lanes]

        running = [_booking(lane, self.engine) for lane in self.engine.running]
        return self.admission.foresee(list(bookings.values()), running, ordered, now)

    def _end_if_due(self, ticket: Ticket, now: float) -> None:
        if ticket.future.cancelled():
            self._end(ticket, None)
        elif (late := ticket.deadline.passed(now)) is not None:
            self._end(ticket, late)
        elif not ticket.started and now > ticket.latest_start:
            self._end(ticket, unreachable(ticket.deadline.at - now))

    def _end_lost(self, now: float) -> None:
        """No step is spent on pictures that cannot be in time."""
        running = self.engine.running
        if now < self._unhurried_until and self._unhurried.issuperset(running):
            return
        bookings = [_booking(lane, self.engine) for lane in running]
        slack = self.admission.slack(bookings, now)
        # half of it: a step may come to cost more than it did
        self._unhurried, self._unhurried_until = frozenset(running), now + slack / 2
        if slack > 0:
            return
        lost = self.admission.lost(bookings, now)
        for ticket in {self._owner[lane]: None for lane, late in zip(running, lost, strict=True) if late}:
            self._end(ticket, unreachable(ticket.deadline.at - now))

    def _report(self, tickets: Iterable[Ticket]) -> None:
        """Note the progress of those that are watched, where a report is due."""
        due = [ticket for ticket in tickets if ticket.report_due()]
        if not due:
            return
        self.catch_up()
        running = self.engine.running
        left = self.admission.left([lane.course(self.engine.policy) for lane in running])
        seconds = dict(zip(running, left, strict=True)) if left is not None else None
        for ticket in due:
            if ticket.watch is not None:
                self._reports.append((ticket.watch, ticket.progress(self._seconds_left(ticket, seconds))))

    def _seconds_left(self, ticket: Ticket, running: Mapping[Lane, float] | None) -> float | None:
        """Until the request is done and decoded, by the forecast; of pictures that wait, by the first one."""
        if running is None:
            return None
        seconds = max((running.get(lane, 0.0) for lane in ticket.lanes), default=0.0)
        seconds += self.admission.tail(ticket.lanes[0].spec.size_class, len(ticket.lanes))
        if all(lane.done or lane in running for lane in ticket.lanes):
            return seconds
        if ticket.predicted_seconds is None:
            return None
        return max(seconds, ticket.predicted_seconds - (self._clock() - ticket.arrived))

    def _collect(self, lanes: Sequence[Lane]) -> None:
        for lane in lanes:
            ticket = self._owner.get(lane)
            if ticket is None:
                continue
            if lane.error is not None:
                self._end(ticket, lane.error)
            elif all(other.done for other in ticket.lanes):
                self._end(ticket, None)

    def _end(self, ticket: Ticket, error: Exception | None) -> None:
        """Take the request's lanes out. Without an error it is done or was cancelled."""
        self.catch_up()
        for lane in ticket.lanes:
            self._owner.pop(lane, None)
            self.engine.cancel(lane)
        del self._tickets[ticket]
        self.admission.release(ticket.client, len(ticket.lanes))
        self._ended.append((ticket, error))
        ending = _ending(ticket, error, self._clock())
        for observer in self._observers:
            observer.ended(ending, self._clock() - ticket.arrived, ticket.work)


def _claim(spec: LaneSpec, deadline: Deadline, asker: Asker, arrived: float) -> Claim:
    return Claim(asker.client, asker.priority, deadline.at, arrived, spec.rows_left[0])


def _booking(lane: Lane, engine: Engine) -> Booking:
    return Booking(lane.course(engine.policy), lane.claim.deadline)


def _ending(ticket: Ticket, error: Exception | None, now: float) -> Ending:
    if isinstance(error, DeadlineExceeded):
        return "deadline"
    if error is None:
        if ticket.future.cancelled():
            return "cancelled"
        return "done" if now <= ticket.deadline.at else "deadline"
    return "shutting_down" if isinstance(error, ServingError) and error.status == "UNAVAILABLE" else "failed"
