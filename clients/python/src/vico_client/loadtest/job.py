"""What passes between the parent and its sending processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vico_client.loadtest.plan import Plan
from vico_client.loadtest.route import Route


@dataclass(frozen=True)
class Job:
    """One process's work: every `processes`-th request (or user) of the plan, from `index` on."""

    index: int
    processes: int
    route: Route
    run_id: str
    folder: Path
    plan: Plan


@dataclass(frozen=True)
class Ready:
    """A process can begin."""

    index: int


@dataclass(frozen=True)
class Start:
    """The parent's word to begin: `time.monotonic()` of the test's start. Anything it says later means: stop."""

    instant: float


@dataclass(frozen=True)
class Progress:
    """What happened since the last one. histogram: latencies of answers, encoded; lateness: the largest, in seconds."""

    sent: int
    ended: int
    errors: dict[str, int]
    histogram: str
    lateness: float


@dataclass(frozen=True)
class Done:
    """A process has sent all it had, and every request ended. cpu: share of one core that it used."""

    index: int
    cpu: float


@dataclass(frozen=True)
class Failed:
    """A process cannot go on."""

    index: int
    reason: str
