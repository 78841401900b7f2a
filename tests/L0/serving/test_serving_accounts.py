"""What is owed of steps: made in order, all but the newest where that is asked; a fault in one loses no other."""

from __future__ import annotations

import logging

import pytest
from fake_runners import make_engine, make_spec

from serving.accounts import Accounts, Step, shape_of
from serving.deadline import Deadline
from serving.lane import Lane
from serving.scheduling import CostModel, StepShape
from serving.ticket import Ticket
from serving.use import Ending, Observer


class Told(Observer):
    """Writes down what it hears; may break at a step of so many seconds."""

    def __init__(self, breaks_at: float = -1.0) -> None:
        self.heard: list[tuple[str, float]] = []
        self._breaks_at = breaks_at

    def refused(self, reason: str) -> None:
        raise AssertionError(reason)

    def queued(self, seconds: float) -> None:
        self.heard.append(("queued", seconds))

    def stepped(self, seconds: float, lanes: int, rows: int) -> None:
        if seconds == self._breaks_at:
            raise RuntimeError("an observer broke")
        self.heard.append(("stepped", seconds))

    def ended(self, ending: Ending, seconds: float, work: int) -> None:
        raise AssertionError(ending)


class Kept:
    """Accounts of one request with two pictures, which came at 1."""

    def __init__(self, told: Told) -> None:
        self.lanes = [Lane(make_spec()), Lane(make_spec(guidance_scale=1.0))]
        self.ticket = Ticket(self.lanes, Deadline(1e6), "", 1.0)
        self.cost = CostModel()
        self.accounts = Accounts(make_engine(None), self.cost, dict.fromkeys(self.lanes, self.ticket), [told])

    def take(self, number: int, seconds: float, beside: float | None = 0.0) -> None:
        step = Step(number, self.lanes, tuple((lane.spec, number - 1) for lane in self.lanes), 0.0)
        self.accounts.began(step, 1.5 + number)
        self.accounts.done(step, seconds, beside)


def test_nothing_is_said_before_it_is_settled_and_then_in_order() -> None:
    told = Told()
    kept = Kept(told)
    kept.take(1, 0.25)
    kept.take(2, 0.5)
    assert not told.heard
    assert not kept.ticket.started
    kept.accounts.settle(but=1)
    assert told.heard == [("queued", 1.5), ("stepped", 0.25)]
    assert (kept.ticket.first_step, kept.ticket.last_step, kept.ticket.work) == (1, 2, 3)
    kept.accounts.settle()
    kept.accounts.settle()
    assert told.heard[2:] == [("stepped", 0.5)]
    assert (kept.ticket.steps, kept.ticket.most_lanes, kept.ticket.work) == (2, 2, 6)


def test_a_fault_in_one_account_loses_no_other(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(breaks_at=0.25)
    kept = Kept(told)
    kept.take(1, 0.25)
    kept.take(2, 0.5)
    with caplog.at_level(logging.ERROR, "vico.serving"):
        kept.accounts.settle()
    assert [record.message for record in caplog.records] == ["the accounts of a step were not kept"]
    assert told.heard == [("queued", 1.5), ("stepped", 0.5)]
    assert kept.ticket.work == 6, "counted before the observer broke"


def test_a_time_that_says_nothing_of_others_is_not_learnt() -> None:
    kept = Kept(Told())
    kept.take(1, 9.0, beside=None)
    kept.accounts.settle()
    assert not kept.cost.known
    kept.take(2, 0.5)
    kept.accounts.settle()
    assert kept.cost.known


def test_the_shape_of_a_step_counts_rows_and_those_that_read_references() -> None:
    plain = make_spec(guidance_scale=1.0)
    assert shape_of([(plain, 0), (make_spec(), 2)]) == StepShape(plain.size_class, 3, 0)
