"""How the loop was used: counters, and calls for whoever keeps histograms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Ending = Literal["done", "failed", "cancelled", "deadline", "shutting_down"]
"""How an accepted request ended; `deadline`: it passed, or could not be met any more."""


class Observer(Protocol):
    """Told of every event, in the loop's thread or in that of `submit`; must be quick."""

    def refused(self, reason: str) -> None:
        """A request was not let in: `queue_full`, `client_queue_full`, `deadline` or `shutting_down`."""

    def queued(self, seconds: float) -> None:
        """A request's first picture joined the running batch after so long."""

    def stepped(self, seconds: float, lanes: int, rows: int) -> None:
        """A step was taken."""

    def ended(self, ending: Ending, seconds: float, work: int) -> None:
        """An accepted request ended, so long after it came, with `work` rows x steps spent on it."""


@dataclass(frozen=True)
class LoopUse:
    """Counters since the loop began. Averages are quotients: queue time `queue_seconds / started`, and so on."""

    started: int = 0
    """Requests whose first picture joined the running batch."""
    queue_seconds: float = 0.0
    """Their waiting, summed."""
    steps: int = 0
    step_seconds: float = 0.0
    lane_steps: int = 0
    """Lanes summed over steps."""
    row_steps: int = 0
    """Rows summed over steps."""
    useful_row_steps: int = 0
    """Those that went to requests which were done, and in time."""
    wasted_row_steps: int = 0
    """Those that went to requests which ended otherwise; what is under way is in neither."""
    endings: Mapping[str, int] = field(default_factory=dict)
    """Accepted requests by `Ending`: cancellations and deadline misses are among them."""
    refusals: Mapping[str, int] = field(default_factory=dict)
    """By reason."""
    feature_hits: int = 0
    """Reference features that were there when a step asked for them."""
    feature_misses: int = 0
    swaps: int = 0
    """Concepts written to a slot."""


class Tally:
    """The observer that keeps `LoopUse`'s counters."""

    def __init__(self) -> None:
        self._refusals: Counter[str] = Counter()
        self._endings: Counter[str] = Counter()
        self._started = self._steps = self._lane_steps = self._row_steps = self._useful = self._wasted = 0
        self._queue_seconds = self._step_seconds = 0.0

    def refused(self, reason: str) -> None:
        """See `Observer`."""
        self._refusals[reason] += 1

    def queued(self, seconds: float) -> None:
        """See `Observer`."""
        self._started += 1
        self._queue_seconds += seconds

    def stepped(self, seconds: float, lanes: int, rows: int) -> None:
        """See `Observer`."""
        self._steps += 1
        self._step_seconds += seconds
        self._lane_steps += lanes
        self._row_steps += rows

    def ended(self, ending: Ending, seconds: float, work: int) -> None:
        """See `Observer`."""
        self._endings[ending] += 1
        if ending == "done":
            self._useful += work
        else:
            self._wasted += work

    def use(self, feature_hits: int = 0, feature_misses: int = 0, swaps: int = 0) -> LoopUse:
        """The counters now."""
        return LoopUse(
            self._started,
            self._queue_seconds,
            self._steps,
            self._step_seconds,
            self._lane_steps,
            self._row_steps,
            self._useful,
            self._wasted,
            dict(self._endings),
            dict(self._refusals),
            feature_hits,
            feature_misses,
            swaps,
        )
