"""The waiting pictures: priority, then equal shares of clients, then the earliest deadline; nobody waits for ever.

A *flow* is what waits of one client at one priority. Each time something is taken:

1. The flows of the highest level compete. A flow's level is its priority, plus one for every `aging_seconds` since it
   came or was last served. So a flow of priority p is passed over for at most (10 - p) x `aging_seconds` in favour of
   those that were served meanwhile; after that each other flow goes before it at most once.
2. Of those, a flow that is ahead of another of its priority by more than `share_work` steps back. While a picture
   waits, every other client of its priority gets at most `share_work` and one picture; one more for every time that
   aging raised it; and, where it was more than `share_work` behind virtual time, what it was behind the newcomer.
3. Of those, the flow with the earliest due picture gives it. Within a flow that is all that counts.

The shares are those of start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), with a tolerance inside which
deadlines decide; a client that was idle has no credit. A newcomer starts level with whoever has least, but at most
`share_work` behind *virtual time*: what a client would have by now that always waited and got its equal share of all
that was taken (Parekh and Gallager, IEEE/ACM ToN 1993). Without that, clients that come for one picture each, one of
them always waiting, would hold the least where it is, and a client that waits for longer would stay ahead of it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serving.scheduling.claim import DEFAULT_POLICY, Claim, Policy

T = TypeVar("T", bound=Hashable)
_FlowKey = tuple[str, int]
_Entry = tuple[float, int]


@dataclass
class _Flow(Generic[T]):
    """What waits of one client at one priority."""

    client: str
    priority: int
    since: float
    """When it came or was last served."""
    served: float
    """Work that was taken from it, counted from the flow that had least."""
    entries: list[tuple[_Entry, T]] = field(default_factory=list)
    """By due time, then by arrival."""

    def copy(self) -> _Flow[T]:
        return _Flow(self.client, self.priority, self.since, self.served, list(self.entries))


class WaitingQueue(Generic[T]):
    """Not thread-safe; knows no clock but the times it is given, which never go back."""

    def __init__(self, policy: Policy = DEFAULT_POLICY) -> None:
        self._policy = policy
        self._flows: dict[_FlowKey, _Flow[T]] = {}
        self._claims: dict[T, Claim] = {}
        self._idle: dict[_FlowKey, float] = {}
        self._least: dict[int, float] = {}
        self._virtual_time: dict[int, float] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._claims)

    def __contains__(self, item: T) -> bool:
        return item in self._claims

    def __iter__(self) -> Iterator[T]:
        return iter(self._claims)

    def claim(self, item: T) -> Claim:
        """What `item` was added with."""
        return self._claims[item]

    def add(self, item: T, claim: Claim) -> None:
        """Let `item` wait; it must not be waiting already."""
        key = claim.client, claim.priority
        if key not in self._flows:
            served = max(self._idle.pop(key, 0.0), self._start(claim.priority))
            self._flows[key] = _Flow(*key, since=claim.arrived, served=served)
        self._arrivals += 1
        insort(self._flows[key].entries, ((self._policy.due(claim), self._arrivals), item), key=lambda entry: entry[0])
        self._claims[item] = claim

    def remove(self, item: T) -> bool:
        """Let `item` wait no more; False if it does not."""
        claim = self._claims.pop(item, None)
        if claim is None:
            return False
        flow = self._flows[claim.client, claim.priority]
        del flow.entries[next(k for k, entry in enumerate(flow.entries) if entry[1] == item)]
        self._forget_if_empty(flow)
        return True

    def first(self, now: float, may: Callable[[T], bool] = lambda _: True) -> T | None:
        """What is first in the order among what `may` be taken; None if nothing may."""
        found = self._first(now, may)
        return None if found is None else found[1][1]

    def take(self, item: T, now: float) -> None:
        """Take `item` out, which waits, and count it as its client's share."""
        claim = self._claims[item]
        flow = self._flows[claim.client, claim.priority]
        self._pass_time(flow.priority, claim.work)
        flow.served += claim.work
        flow.since = now
        self.remove(item)

    def order(self, now: float, more: Sequence[tuple[T, Claim]] = ()) -> list[T]:
        """All that waits, and `more` with it, as it would be taken if nothing else came; the queue stays as it is."""
        copy = self._copy()
        for item, claim in more:
            copy.add(item, claim)
        taken: list[T] = []
        while (first := copy.first(now)) is not None:
            copy.take(first, now)
            taken.append(first)
        return taken

    def check_integrity(self) -> None:
        """Raise AssertionError if the flows do not hold exactly what waits, in order."""
        held = [item for flow in self._flows.values() for _, item in flow.entries]
        if len(held) != len(self._claims) or set(held) != set(self._claims):
            raise AssertionError("the flows do not hold what waits")
        for key, flow in self._flows.items():
            if not flow.entries or flow.entries != sorted(flow.entries, key=lambda entry: entry[0]):
                raise AssertionError("a flow is empty or out of order")
            claims = [self._claims[item] for _, item in flow.entries]
            if any((claim.client, claim.priority) != key for claim in claims):
                raise AssertionError("a flow holds what is not its own")

    def _first(self, now: float, may: Callable[[T], bool]) -> tuple[_Flow[T], tuple[_Entry, T]] | None:
        offers = [
            (flow, offer)
            for flow in self._flows.values()
            if (offer := next((entry for entry in flow.entries if may(entry[1])), None)) is not None
        ]
        if not offers:
            return None
        self._settle_shares([flow for flow, _ in offers])
        levels = {id(flow): self._policy.level(flow.priority, now - flow.since) for flow, _ in offers}
        top = max(levels.values())
        highest = [(flow, offer) for flow, offer in offers if levels[id(flow)] == top]
        fair = [(flow, offer) for flow, offer in highest if flow.priority < top or self._within_share(flow)]
        return min(fair, key=lambda pair: pair[1][0])

    def _within_share(self, flow: _Flow[T]) -> bool:
        return flow.served <= self._least[flow.priority] + self._policy.share_work

    def _start(self, priority: int) -> float:
        """What a newcomer counts as served; never falls while others of its priority wait."""
        return max(self._least.get(priority, 0.0), self._virtual_time.get(priority, 0.0) - self._policy.share_work)

    def _pass_time(self, priority: int, work: float) -> None:
        """Count `work` as if all that wait got their part of it, also those that cannot be served yet: these are many,
        and without them newcomers would start ahead of everybody."""
        waiting = sum(flow.priority == priority for flow in self._flows.values())
        time = max(self._virtual_time.get(priority, 0.0), self._least.get(priority, 0.0))
        self._virtual_time[priority] = time + work / waiting

    def _settle_shares(self, offering: Sequence[_Flow[T]]) -> None:
        """Who has least is counted among those that can be served: one that cannot yet neither holds others back nor
        gathers credit."""
        for priority in {flow.priority for flow in offering}:
            self._least[priority] = min(flow.served for flow in offering if flow.priority == priority)
        for flow in self._flows.values():
            flow.served = max(flow.served, self._least.get(flow.priority, 0.0))

    def _forget_if_empty(self, flow: _Flow[T]) -> None:
        """A client that has nothing waiting keeps its account while others of its priority wait, and only until a
        newcomer would start there."""
        if flow.entries:
            return
        del self._flows[flow.client, flow.priority]
        self._idle[flow.client, flow.priority] = flow.served
        busy = {priority for _, priority in self._flows}
        for books in (self._least, self._virtual_time):
            for priority in books.keys() - busy:
                del books[priority]
        starts = {priority: self._start(priority) for priority in busy}
        kept = ((key, served) for key, served in self._idle.items() if key[1] in busy)
        self._idle = {key: served for key, served in kept if served > starts[key[1]]}

    def _copy(self) -> WaitingQueue[T]:
        copy: WaitingQueue[T] = WaitingQueue(self._policy)
        copy._flows = {key: flow.copy() for key, flow in self._flows.items()}
        copy._claims, copy._idle = dict(self._claims), dict(self._idle)
        copy._least, copy._virtual_time = dict(self._least), dict(self._virtual_time)
        copy._arrivals = self._arrivals
        return copy
