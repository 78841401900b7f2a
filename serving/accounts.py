"""What is written down of every step: made while the next one runs, as no graph runs between two steps."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from serving.engine import Engine
from serving.lane import Lane, LaneSpec
from serving.scheduling import CostModel, StepShape
from serving.ticket import Ticket
from serving.use import Observer

logger = logging.getLogger("vico.serving")


@dataclass(frozen=True, eq=False)
class Step:
    """One step of one size class, about to be taken."""

    number: int
    """Counted since the loop began."""
    lanes: list[Lane]
    asked: tuple[tuple[LaneSpec, int], ...]
    """Of each lane its picture, and the number of the picture's step that it takes."""
    began: float


class Accounts:
    """Of steps: who took part, what they cost, what to compute ahead for those after them.

    They are owed, and made by `settle`, which must come before anybody reads what they change, and before a ticket
    that took part is ended.

    Args:
        engine: looks ahead.
        cost: learns what a step takes.
        owner: of every lane under way; read when an account is made.
        observers: told of every step.
    """

    def __init__(
        self, engine: Engine, cost: CostModel, owner: Mapping[Lane, Ticket], observers: Sequence[Observer]
    ) -> None:
        self._engine = engine
        self._cost = cost
        self._owner = owner
        self._observers = observers
        self._owed: deque[Callable[[], None]] = deque()

    def began(self, step: Step, now: float) -> None:
        """Owe what is to be said of a step that was chosen at `now`."""
        self._owed.append(partial(self._say_begun, step, now))

    def done(self, step: Step, seconds: float, beside: float | None) -> None:
        """Owe what is to be said of a step that was taken.

        Args:
            step: the one that ran.
            seconds: from its beginning to its end.
            beside: rows of the reference stream that were computed meanwhile; None = `seconds` says nothing of others.
        """
        self._owed.append(partial(self._say_done, step, seconds, beside))

    def settle(self, but: int = 0) -> None:
        """Do what is owed, but for the newest few. No picture depends on it: a fault ends nobody."""
        while len(self._owed) > but:
            account = self._owed.popleft()
            try:
                account()
            except Exception:
                logger.exception("the accounts of a step were not kept")

    def _say_begun(self, step: Step, now: float) -> None:
        for ticket in {self._owner[lane]: None for lane in step.lanes}:
            if not ticket.started:
                for observer in self._observers:
                    observer.queued(now - ticket.arrived)
            ticket.saw(step.number, len(step.lanes), now)
        self._engine.look_ahead(step.lanes)

    def _say_done(self, step: Step, seconds: float, beside: float | None) -> None:
        for lane, (spec, index) in zip(step.lanes, step.asked, strict=True):
            self._owner[lane].work += spec.rows_at(index)
        shape = shape_of(step.asked)
        if beside is not None:
            self._cost.observe(replace(shape, beside=beside), seconds)
        for observer in self._observers:
            observer.stepped(seconds, len(step.lanes), int(shape.rows))


def shape_of(asked: Sequence[tuple[LaneSpec, int]]) -> StepShape:
    """The shape of a step of these pictures, all of one size class, each with the number of its step."""
    strengths = [strength for spec, index in asked for strength in spec.row_strengths_at(index)]
    return StepShape(asked[0][0].size_class, len(strengths), sum(strength > 0 for strength in strengths))
