"""Which size class takes the next step: the one with the most urgent picture, unless another was put off too long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from serving.scheduling.claim import Policy

K = TypeVar("K")


@dataclass(frozen=True)
class Turn:
    """One size class."""

    priority: int
    """The highest of its pictures."""
    due: float
    """The earliest of its pictures, see `Policy.due`."""
    since: float
    """When it began to run or took its last step, seconds on the loop's clock."""


def next_turn(turns: Mapping[K, Turn], now: float, policy: Policy) -> K:
    """The size class to step: highest level, then earliest due, then put off longest.

    A class of priority p is put off for at most (10 - p) x `turn_seconds` in favour of classes stepped meanwhile, and
    then for one step of each other class.
    """
    rule = replace(policy, aging_seconds=policy.turn_seconds)

    def rank(key: K) -> tuple[int, float, float]:
        turn = turns[key]
        return -rule.level(turn.priority, now - turn.since), turn.due, turn.since

    return min(turns, key=rank)
