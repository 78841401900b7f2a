"""Where lanes wait: prepares what they need beside the loop, and lets them join between two steps."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from serving.ahead import FeatureWorker
from serving.bank import SlotBank
from serving.lane import Lane
from serving.preparing import Packages
from serving.scheduling import Policy, Room, SizeClass, WaitingQueue

MARK_SECONDS = 60.0
"""Between two marks of the packages that waiting lanes will read: a store keeps what was marked for much longer, see
`serving.concepts.store`."""

Running = dict[SizeClass, list[Lane]]
"""The lanes under way; no size class without any."""


@dataclass
class _Doors:
    """Who may still join before this step."""

    full: set[Hashable] = field(default_factory=set)
    """Kinds of which the first of the order had no room."""
    no_slot: bool = False
    """The first of the order found no slot: until it has one, nobody else takes one, or holds one longer."""
    written: bool = False
    """One slot is written between two steps, so that no step waits for more."""

    def open_to(self, lane: Lane, kind: Hashable, bank: SlotBank) -> bool:
        if kind in self.full:
            return False
        if lane.spec.concept is None:
            return True
        return not self.no_slot and (not self.written or lane.spec.concept.digest in bank)


class Entrance:
    """Belongs to the engine's thread.

    Args:
        bank: the resident concepts.
        packages: reads those that are not resident.
        ahead: computes a lane's first reference features; None = nobody does.
        room: bounds of the batch.
        policy: of the order.
    """

    def __init__(
        self, bank: SlotBank, packages: Packages, ahead: FeatureWorker | None, room: Room, policy: Policy
    ) -> None:
        self._bank = bank
        self.packages = packages
        self._ahead = ahead
        self._room = room
        self._policy = policy
        self._waiting: WaitingQueue[Lane] = WaitingQueue(policy)
        self._changed = False
        self._told: Sequence[str] = ()
        """Packages that could not be read, as `unread` said last."""
        self._mark_at = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def order(self, now: float, newcomers: Sequence[Lane]) -> list[Lane]:
        """All that waits, and `newcomers` with it, as it would join if nothing else came."""
        return self._waiting.order(now, [(lane, lane.claim) for lane in newcomers])

    def add(self, lane: Lane) -> None:
        """Let a lane wait."""
        self._waiting.add(lane, lane.claim)
        self._changed = True

    def remove(self, lane: Lane) -> bool:
        """Let a lane wait no more; False if it does not."""
        found = self._waiting.remove(lane)
        self._changed = self._changed or found
        return found

    def clear(self) -> list[Lane]:
        """Let nobody wait any more; returns those that did."""
        lanes = list(self._waiting)
        self._waiting = WaitingQueue(self._policy)
        self.packages.want([])
        return lanes

    def prepare(self, running: Sequence[Lane], step: int, now: float) -> None:
        """Have read and computed what the lanes that join next will need, and no more than fits into a batch."""
        if now >= self._mark_at:
            self._mark_waiting(now)
        if not self._changed:
            return
        self._changed = False
        # their lanes have failed: who comes now has it tried again
        self.packages.forget(self._told)
        self._told = ()
        free = len(running) < self._room.lanes
        soonest = step if free else step + min(len(lane.remaining_timesteps) for lane in running)
        nearest = [lane for lane in self._waiting.order(now)[: self._room.lanes] if lane.spec.concept is not None]
        digests = {lane.spec.concept.digest: None for lane in nearest if lane.spec.concept is not None}
        self.packages.want([digest for digest in digests if digest not in self._bank])
        if self._ahead is not None:
            with self._ahead.together():
                for lane in nearest:
                    self._ahead.begin(lane, soonest, self._policy.due(lane.claim))

    def unread(self) -> list[tuple[Lane, Exception]]:
        """The lanes whose package could not be read, and why; for lanes that come later it is read anew."""
        errors = self.packages.errors()
        self._told = tuple(errors)
        lanes = [(lane, lane.spec.concept) for lane in self._waiting] if errors else []
        return [(lane, errors[concept.digest]) for lane, concept in lanes if concept and concept.digest in errors]

    def admit(self, running: Running, now: float) -> list[Lane]:
        """Let join what is first in the order among the ready; nobody slips in before one that lacks room.

        Returns:
            Those that joined, which are in `running` now; their slots are written and pinned.
        """
        joined: list[Lane] = []
        if self._room.batching == "request" and running:
            return joined
        doors = _Doors()
        while sum(map(len, running.values())) < self._room.lanes:
            lane = self._waiting.first(now, lambda lane: self._may_join(lane, doors))
            if lane is None:
                break
            if not self._fits(lane, running):
                doors.full.add(self._kind(lane))
            elif self._takes_slot(lane, doors, beside=bool(running)):
                self._waiting.take(lane, now)
                running.setdefault(lane.spec.size_class, []).append(lane)
                joined.append(lane)
        self._changed = self._changed or bool(joined)
        return joined

    def check_integrity(self) -> None:
        """Raise AssertionError if the queue is out of order, or more is held than can join."""
        self._waiting.check_integrity()
        if len(self.packages) > self._room.lanes:
            raise AssertionError("more packages are held than lanes can join")

    def _mark_waiting(self, now: float) -> None:
        """A lane may wait for longer than a store keeps what nobody asks for."""
        self._mark_at = now + MARK_SECONDS
        digests = {lane.spec.concept.digest for lane in self._waiting if lane.spec.concept is not None}
        if digests:
            self.packages.mark(digests)

    def _may_join(self, lane: Lane, doors: _Doors) -> bool:
        return doors.open_to(lane, self._kind(lane), self._bank) and self._ready(lane)

    def _kind(self, lane: Lane) -> Hashable:
        """What must be equal in one batch."""
        return lane.kind if self._room.batching == "request" else lane.spec.size_class

    def _takes_slot(self, lane: Lane, doors: _Doors, *, beside: bool) -> bool:
        if lane.spec.concept is None:
            return True
        writes = lane.spec.concept.digest not in self._bank
        lane.slot = self._bank.acquire(lane.spec.concept.digest, self.packages.get)
        doors.no_slot = lane.slot is None
        doors.written = doors.written or (writes and beside)
        return lane.slot is not None

    def _ready(self, lane: Lane) -> bool:
        """Whether what it needs of its concept is there."""
        if lane.spec.concept is None:
            return True
        if self._ahead is not None and not lane.first_features:
            return False
        return lane.spec.concept.digest in self._bank or self.packages.read(lane.spec.concept.digest)

    def _fits(self, lane: Lane, running: Running) -> bool:
        others = [other for peers in running.values() for other in peers]
        if self._room.batching == "request" and others and others[0].kind != lane.kind:
            return False
        peers = running.get(lane.spec.size_class, [])
        return not peers or most_rows([*peers, lane]) <= self._room.rows


def most_rows(lanes: Sequence[Lane]) -> int:
    """The most rows that a step of these lanes can have."""
    return sum(2 if any(lane.spec.guided) else 1 for lane in lanes)
