"""Who is let in: bounds on what waits, and no promise that cannot be kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.scheduling.cost import CostModel, SizeClass, StepShape
from serving.scheduling.forecast import Course, Room, StepSeconds, forecast, shape_of

MARGIN = 1.05
"""A forecast is believed so far: a request is let in if its deadline holds even when all takes this much longer."""
HOPE = 0.95
"""A request is given up once its deadline would pass even if the rest took only this share of the forecast."""


@dataclass(frozen=True)
class Bounds:
    """How many pictures may be accepted and not yet done."""

    pictures: int
    """Of everybody."""
    client_pictures: int
    """Of one client that has a name."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let in."""

    reason: str
    """One of `queue_full`, `client_queue_full`, `deadline`."""
    room: int = 0
    """Pictures that there is room for."""
    earliest: float = math.inf
    """Seconds from now at which it could be done."""


@dataclass(frozen=True, eq=False)
class Booking:
    """A picture that was accepted, or asks to be."""

    course: Course
    deadline: float
    """Seconds on the loop's clock."""


class Admission:
    """Bounds and forecasts. While no step has been measured, only the bounds count.

    Args:
        bounds: on the pictures accepted and not yet done.
        room: of the batch.
        cost: learnt by the loop.
        tail_rows: what follows the loop (the VAE's decoder), in rows of a step for each picture.
    """

    def __init__(self, bounds: Bounds, room: Room, cost: CostModel, tail_rows: float = 2.0) -> None:
        self._bounds = bounds
        self._room = room
        self._cost = cost
        self._tail_rows = tail_rows
        self._held: Counter[str] = Counter()

    @property
    def pictures(self) -> int:
        """Pictures accepted and not yet done."""
        return self._held.total()

    def hold(self, client: str, pictures: int) -> None:
        """Count a request that was let in."""
        self._held[client] += pictures

    def release(self, client: str, pictures: int) -> None:
        """Count it no more."""
        self._held[client] -= pictures
        if not self._held[client]:
            del self._held[client]

    def bounded(self, client: str, pictures: int) -> Refusal | None:
        """The refusal if there is no room for so many."""
        room = self._bounds.pictures - self.pictures
        own = self._bounds.client_pictures - self._held[client] if client else room
        if pictures > room:
            return Refusal("queue_full", room)
        return Refusal("client_queue_full", own) if pictures > own else None

    def seconds(self, courses: Sequence[Course]) -> float | None:
        """How long pictures of one request take by themselves, to the very end; None while nothing is measured."""
        if not self._cost.known:
            return None
        return max(forecast([], courses, self._room, self._step_seconds)) + self._tail(courses)

    def left(self, running: Sequence[Course]) -> list[float] | None:
        """Seconds to the last step of each picture under way, if nobody joins; None while nothing is measured."""
        return forecast(running, [], self._room, self._step_seconds) if self._cost.known else None

    def tail(self, size_class: SizeClass, pictures: int) -> float:
        """Seconds from the last step to the end."""
        return self._step_seconds(StepShape(size_class, self._tail_rows * pictures))

    def slack(self, running: Sequence[Booking], now: float) -> float:
        """Seconds in which no picture under way can come to be lost, if nobody joins and steps cost what they do.

        A cheap look, as if all took as many steps as the longest: where it gives nothing, `lost` tells.
        """
        if not self._cost.known:
            return 0.0
        classes: dict[SizeClass, list[Booking]] = {}
        for booking in running:
            classes.setdefault(booking.course.size_class, []).append(booking)
        # a batch only shrinks, and a smaller one takes no longer
        longest = sum(
            max(booking.course.steps for booking in peers)
            * self._step_seconds(shape_of([booking.course for booking in peers]))
            for peers in classes.values()
        )
        ends = [min(booking.deadline for booking in peers) - self.tail(size, 1) for size, peers in classes.items()]
        return min(ends, default=math.inf) - now - HOPE * longest

    def lost(self, running: Sequence[Booking], now: float) -> list[bool]:
        """For each picture under way, whether it will be late even if nobody joins any more."""
        if not self._cost.known or all(math.isinf(booking.deadline) for booking in running):
            return [False] * len(running)
        done = self._forecast(len(running), running)
        return [not self._in_time(booking, HOPE * seconds, now) for booking, seconds in zip(running, done, strict=True)]

    def foresee(
        self,
        newcomers: Sequence[Booking],
        running: Sequence[Booking],
        ordered: Callable[[bool], Sequence[Booking]],
        now: float,
    ) -> tuple[float | None, Refusal | None]:
        """When a request would be done, and the refusal if that is too late, or makes others late.

        Args:
            newcomers: the request's pictures.
            running: under way.
            ordered: what waits with the newcomers among it, as it will join; behind all that is due if asked for so.
            now: seconds on the loop's clock.

        Returns:
            Seconds from now; None while nothing is measured.
        """
        if not self._cost.known:
            return None, None
        mine = {id(booking) for booking in newcomers}
        tail = self._tail([booking.course for booking in newcomers])
        plan = [*running, *ordered(False)]
        done = self._forecast(len(running), plan)
        finish = _last(plan, done, mine) + tail
        patience = newcomers[0].deadline - now
        if finish * MARGIN > patience:
            return finish, Refusal("deadline", earliest=finish * MARGIN)
        if self._makes_late(plan, done, len(running), mine, now):
            behind = [*running, *ordered(True)]
            earliest = _last(behind, self._forecast(len(running), behind), mine) + tail
            return finish, Refusal("deadline", earliest=max(earliest * MARGIN, patience))
        return finish, None

    def _makes_late(
        self, plan: Sequence[Booking], done: Sequence[float], running: int, mine: set[int], now: float
    ) -> bool:
        """Whether a picture of the same or a higher priority, in time without the newcomers, is late with them."""
        priority = next(booking.course.priority for booking in plan if id(booking) in mine)
        late = {
            id(booking)
            for booking, seconds in zip(plan, done, strict=True)
            if id(booking) not in mine
            and booking.course.priority >= priority
            and not self._in_time(booking, seconds * MARGIN, now)
        }
        if not late:
            return False
        without = [booking for booking in plan if id(booking) not in mine]
        before = self._forecast(running, without)
        return any(
            id(booking) in late and self._in_time(booking, seconds, now)
            for booking, seconds in zip(without, before, strict=True)
        )

    def _in_time(self, booking: Booking, seconds: float, now: float) -> bool:
        return math.isinf(booking.deadline) or now + seconds + self._tail([booking.course]) <= booking.deadline

    def _forecast(self, running: int, plan: Sequence[Booking]) -> list[float]:
        courses = [booking.course for booking in plan]
        return forecast(courses[:running], courses[running:], self._room, self._step_seconds)

    def _tail(self, courses: Sequence[Course]) -> float:
        return self.tail(courses[0].size_class, len(courses))

    @property
    def _step_seconds(self) -> StepSeconds:
        return lambda shape: self._cost.step_seconds(shape) or 0.0


def _last(plan: Sequence[Booking], done: Sequence[float], mine: set[int]) -> float:
    return max(seconds for booking, seconds in zip(plan, done, strict=True) if id(booking) in mine)
