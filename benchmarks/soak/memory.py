"""The memory of every process of a server, and how it grew."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import psutil

_STAGE = re.compile(r"/([^/]+)/\d+/model\.py")
BEFORE, AFTER = (0.1, 0.3), (0.8, 1.0)
"""Shares of the work: caches are full after the first tenth."""


@dataclass(frozen=True)
class Sample:
    """One look. `bytes`: proportional set size by process, what is shared divided among those that share it."""

    progress: float
    """Share of the work that is done."""
    bytes: dict[str, int]

    @property
    def total(self) -> int:
        """Of all processes."""
        return sum(self.bytes.values())


def look(pid: int, progress: float) -> Sample:
    """At a process and all that descend from it."""
    parent = psutil.Process(pid)
    found: dict[str, int] = {}
    for process in [parent, *parent.children(recursive=True)]:
        try:
            found[_name(process.cmdline(), process.pid == pid)] = process.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return Sample(progress, found)


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """Of every process that was there all the time, and of all together (`total`): 0.01 is one per cent.

    The medians of two stretches of the work are compared; empty as long as there is no sample of both.
    """
    early, late = ([one for one in samples if low <= one.progress <= high] for low, high in (BEFORE, AFTER))
    if not early or not late:
        return {}
    names = set.intersection(*(set(one.bytes) for one in (*early, *late)))
    grown = {name: _ratio([s.bytes[name] for s in early], [s.bytes[name] for s in late]) for name in sorted(names)}
    return grown | {"total": _ratio([one.total for one in early], [one.total for one in late])}


def _ratio(early: Sequence[int], late: Sequence[int]) -> float:
    return median(late) / median(early) - 1


def _name(command: Sequence[str], first: bool) -> str:
    line = " ".join(command)
    if first:
        return "supervisor"
    if stage := _STAGE.search(line):
        return stage[1]
    return "front" if "serving.front" in line else "tritonserver"
