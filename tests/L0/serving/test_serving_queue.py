"""The order of the waiting: urgent first, equal shares, nobody for ever."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.scheduling import Claim, Policy, Turn, WaitingQueue, next_turn

POLICY = Policy(aging_seconds=10, patience_seconds=60, share_work=100, turn_seconds=2)


def queue_of(*claims: Claim, policy: Policy = POLICY) -> WaitingQueue[int]:
    queue: WaitingQueue[int] = WaitingQueue(policy)
    for k, claim in enumerate(claims):
        queue.add(k, claim)
    return queue


def drain(queue: WaitingQueue[int], now: float = 0.0) -> list[int]:
    taken = []
    while (item := queue.first(now)) is not None:
        queue.take(item, now)
        queue.check_integrity()
        taken.append(item)
    return taken


def test_the_earliest_deadline_goes_first_and_none_counts_as_a_patient_one() -> None:
    assert drain(queue_of(Claim(deadline=9), Claim(), Claim(deadline=3), Claim(deadline=61), Claim())) == [
        2,
        0,
        1,
        3,
        4,
    ]


def test_a_greater_priority_goes_first_whatever_the_deadline() -> None:
    assert drain(queue_of(Claim(deadline=1), Claim(priority=6), Claim(priority=4, deadline=0.5))) == [1, 0, 2]


def test_a_client_with_many_gives_way_to_one_with_few() -> None:
    many = [Claim("many", deadline=5, work=50) for _ in range(9)]
    order = drain(queue_of(*many, Claim("few", work=50)))
    assert order.index(9) == 3, "two and the one that goes beyond the tolerance"


def test_what_may_not_go_holds_nobody_up() -> None:
    queue = queue_of(Claim(deadline=1), Claim(deadline=2), Claim("other", deadline=3))
    assert queue.first(0, lambda item: item != 0) == 1
    assert queue.first(0, lambda item: item == 2) == 2
    assert queue.first(0, lambda item: False) is None
    assert queue.remove(1)
    assert not queue.remove(1)
    assert drain(queue) == [0, 2]


def test_accounts_of_clients_that_left_are_forgotten() -> None:
    queue = queue_of()
    for k in range(500):
        queue.add(k, Claim(f"client {k}", work=1000))
        queue.add(1000 + k, Claim("steady", work=1))
        assert queue.first(0) is not None
        queue.take(k, 0)
        queue.take(1000 + k, 0)
    assert not queue._flows
    assert not queue._idle
    assert not queue._least


class Visitors:
    """Clients that come for one picture each: so many always wait, and the next comes before one of them is taken."""

    def __init__(self, queue: WaitingQueue[int], waiting: int, patience: float = math.inf, work: float = 50) -> None:
        self.queue = queue
        self.claim = Claim("", deadline=patience, work=work)
        self.came = 0
        for _ in range(waiting):
            self.come(0.0)

    def come(self, now: float) -> None:
        self.came += 1
        deadline = now + self.claim.deadline
        self.queue.add(-self.came, replace(self.claim, client=f"visitor {self.came}", deadline=deadline, arrived=now))

    def take(self, now: float) -> Claim:
        """Take what is first, and let another come if it is a visitor's."""
        first = self.queue.first(now)
        assert first is not None
        if first < 0:
            self.come(now)
        claim = self.queue.claim(first)
        self.queue.take(first, now)
        return claim


@pytest.mark.parametrize("waiting", [1, 3])
@pytest.mark.parametrize("patience", [1, math.inf], ids=["urgent", "patient"])
@pytest.mark.parametrize("service", [0.0, 0.1])
def test_clients_that_come_once_leave_a_steady_one_its_share(waiting: int, patience: float, service: float) -> None:
    queue = queue_of(*[Claim("steady", work=50)] * 600)
    visitors = Visitors(queue, waiting, patience)
    got = sum(visitors.take(k * service).client == "steady" for k in range(600))
    print(f"\n{waiting} visitors wait, patience {patience}, {service} s a picture: {got} of 600")
    # while a visitor is taken the next is there already: the steady client is one of `waiting + 2` then
    assert 600 / (waiting + 2) - 4 <= got <= 600 / (waiting + 1) + 4


def test_accounts_are_forgotten_also_while_the_backlog_never_ends() -> None:
    queue = queue_of(*[Claim("steady", work=50)] * 3000)
    visitors = Visitors(queue, 3)
    most = 0
    for _ in range(3000):
        visitors.take(0.0)
        most = max(most, len(queue._idle))
    assert most <= 5 * (POLICY.share_work / 50 + 2), "what five flows can take within the tolerance"


@settings(max_examples=60, deadline=None)
@given(
    steady=st.integers(1, 3),
    waiting=st.integers(1, 4),
    works=st.lists(st.floats(5, 80), min_size=1, max_size=4),
    deadlines=st.lists(st.floats(0, 60), min_size=1, max_size=4),
    patience=st.floats(0, 60),
    visit=st.floats(5, 80),
)
def test_shares_are_equal_whoever_comes_and_goes(
    steady: int, waiting: int, works: list[float], deadlines: list[float], patience: float, visit: float
) -> None:
    """All at one moment: without the help of aging."""
    queue: WaitingQueue[int] = WaitingQueue(POLICY)
    for k in range(300 * steady):
        deadline, work = deadlines[k % len(deadlines)], works[k % len(works)]
        queue.add(k, Claim(f"steady {k % steady}", deadline=deadline, work=work))
    visitors = Visitors(queue, waiting, patience, visit)
    equal, got = 0.0, dict.fromkeys((f"steady {k}" for k in range(steady)), 0.0)
    for _ in range(300):
        there = steady + waiting
        claim = visitors.take(0.0)
        if claim.client in got:
            got[claim.client] += claim.work
        else:
            there += 1
        equal += claim.work / there
        # visitors are as much as two tolerances before who has least, and others of the steady one more
        assert min(got.values()) >= equal - 3 * (POLICY.share_work + 80)
        assert max(got.values()) <= equal + POLICY.share_work + 80


@settings(max_examples=60, deadline=None)
@given(work=st.floats(5, 80), waiting=st.integers(0, 3), away=st.integers(0, 5))
def test_nobody_gains_by_leaving_and_coming_back(work: float, waiting: int, away: int) -> None:
    """One picture at a time, always urgent, and gone while `away` others are taken: no more than by staying."""
    queue = queue_of(*[Claim("steady", work=50)] * 200)
    visitors, back, got = Visitors(queue, waiting), 0, dict.fromkeys(("steady", "restless"), 0.0)
    for k in range(200):
        if k == back:
            queue.add(1000 + k, Claim("restless", deadline=1, work=work))
        claim = visitors.take(0.0)
        if claim.client in got:
            got[claim.client] += claim.work
        if claim.client == "restless":
            back = k + 1 + away
        assert got["restless"] <= got["steady"] + POLICY.share_work + work


CLAIMS = st.builds(
    Claim,
    client=st.sampled_from(["", "a", "b"]),
    priority=st.integers(1, 9),
    deadline=st.one_of(st.just(math.inf), st.floats(0, 200)),
    work=st.floats(1, 200),
)
EVENTS = st.lists(st.one_of(CLAIMS, st.just("take"), st.just("remove"), st.floats(0, 15)), max_size=60)


@given(EVENTS, st.data())
def test_whatever_happens_the_books_agree_and_the_foretold_order_holds(events: list[Any], data: st.DataObject) -> None:
    queue, now, inside = queue_of(), 0.0, set()
    for k, event in enumerate(events):
        if isinstance(event, Claim):
            queue.add(k, Claim(event.client, event.priority, event.deadline, now, event.work))
            inside.add(k)
        elif event == "take":
            first = queue.first(now)
            assert (first is None) == (not inside)
            if first is not None:
                queue.take(first, now)
                inside.discard(first)
        elif event == "remove" and inside:
            item = data.draw(st.sampled_from(sorted(inside)))
            inside.discard(item)
            assert queue.remove(item)
        elif isinstance(event, float):
            now += event
        queue.check_integrity()
        assert set(queue) == inside
    foretold = queue.order(now)
    assert set(foretold) == inside
    assert drain(queue, now) == foretold


@settings(max_examples=60, deadline=None)
@given(
    victim=st.integers(1, 9),
    others=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 9), st.floats(0, 50)), min_size=1, max_size=6),
    service=st.floats(0.2, 3),
)
def test_no_flood_starves_anybody(victim: int, others: list[tuple[str, int, float]], service: float) -> None:
    """Whatever the others' priority and deadlines, and although there is always more of them."""
    queue: WaitingQueue[int] = WaitingQueue(POLICY)
    queue.add(-1, Claim("victim", victim, arrived=0.0, work=10))
    flows = len({(client, priority) for client, priority, _ in others})
    now, serial = 0.0, 0
    while True:
        for client, priority, patience in others:
            queue.add(serial, Claim(client, priority, now + patience, now, work=10))
            serial += 1
        first = queue.first(now)
        assert first is not None
        queue.take(first, now)
        if first == -1:
            break
        now += service
    # passed over until it is above whatever was served meanwhile, then once by each other flow
    assert now <= (10 - victim) * POLICY.aging_seconds + (flows + 1) * service


@settings(max_examples=60, deadline=None)
@given(
    before=st.integers(0, 30),
    clients=st.integers(1, 4),
    work=st.floats(1, 80),
    deadlines=st.lists(st.floats(0, 100), min_size=1, max_size=5),
)
def test_one_client_with_a_hundred_does_not_delay_another_with_one(
    before: int, clients: int, work: float, deadlines: list[float]
) -> None:
    queue: WaitingQueue[int] = WaitingQueue(POLICY)
    for k in range(100 * clients):
        queue.add(k, Claim(f"many {k % clients}", deadline=deadlines[k % len(deadlines)], work=work))
    for _ in range(before):
        first = queue.first(0.0)
        assert first is not None
        queue.take(first, 0.0)
    queue.add(-1, Claim("one", work=work))
    served = dict.fromkeys((f"many {c}" for c in range(clients)), 0.0)
    while (first := queue.first(0.0)) != -1:
        assert first is not None
        served[queue.claim(first).client] += work
        queue.take(first, 0.0)
    for got in served.values():
        assert got <= POLICY.share_work + work + 1e-6


def test_size_classes_step_by_urgency_and_none_is_put_off_for_ever() -> None:
    turns = {"low": Turn(5, due=9, since=0), "early": Turn(5, due=3, since=0), "high": Turn(6, due=99, since=0)}
    assert next_turn(turns, 0, POLICY) == "high"
    del turns["high"]
    assert next_turn(turns, 1.9, POLICY) == "early"
    turns["early"] = Turn(5, due=3, since=1.9)
    assert next_turn(turns, 2.0, POLICY) == "low", "put off for a whole turn"


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 99)), min_size=2, max_size=5), st.floats(0.05, 1))
def test_every_size_class_steps_within_its_bound(classes: list[tuple[int, float]], step: float) -> None:
    turns = {k: Turn(priority, due, 0.0) for k, (priority, due) in enumerate(classes)}
    now = 0.0
    for _ in range(200):
        chosen = next_turn(turns, now, POLICY)
        turns[chosen] = Turn(turns[chosen].priority, turns[chosen].due, now)
        now += step
        for turn in turns.values():
            assert now - turn.since <= (10 - turn.priority) * POLICY.turn_seconds + (len(classes) + 1) * step + 1e-9
