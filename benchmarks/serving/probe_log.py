"""What the probes wrote, read from outside."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving.results import BenchmarkError

_TAIL_BYTES = 2**16


@dataclass(frozen=True)
class Step:
    """One step of the loop; seconds of the monotonic clock."""

    number: int
    """As replies count them (`batch.first_step`)."""
    end: float
    """When the last graph of the loop's own thread ended."""
    seconds: float
    lanes: int
    rows: int
    swaps: int
    """Slots written since the loop began."""
    graph: float
    """Seconds in which the loop's own thread ran graphs since the step before."""
    left: int
    """Requests that ended with this step or before the next one."""


@dataclass(frozen=True)
class GraphRun:
    """One run of one graph."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Period:
    """From the end of one step to the end of the next, while a picture was under way all the time."""

    step: Step
    seconds: float

    @property
    def beyond_graph(self) -> float:
        """Seconds of it that the loop's thread ran no graph."""
        return self.seconds - self.step.graph


class ProbeLog:
    """Args: folder: where the probes write, one file a stage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def steps(self) -> list[Step]:
        """All since the server started."""
        found: list[Step] = []
        graph, end, left = 0.0, 0.0, 0
        for words in _lines(self._folder / "unet_loop"):
            if words[0] == "graph" and words[4] == "1":
                end = float(words[3])
                graph += end - float(words[2])
            elif words[0] == "ended":
                left += 1
            elif words[0] == "step":
                if found:
                    found[-1] = replace(found[-1], left=left)
                lanes, rows, swaps = map(int, words[2:5])
                found.append(Step(len(found) + 1, end, float(words[1]), lanes, rows, swaps, graph, left=0))
                graph, left = 0.0, 0
        return [*found[:-1], replace(found[-1], left=left)] if found else []

    def swaps(self) -> int:
        """Slots written so far: of the last step."""
        path = self._folder / "unet_loop"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode().splitlines(keepends=True)
        steps = [line.split() for line in lines[1:] if line.startswith("step") and line.endswith("\n")]
        return int(steps[-1][4]) if steps else 0

    def graphs(self) -> list[GraphRun]:
        """All runs of all stages, since the server started."""
        return [
            GraphRun(words[1], float(words[2]), float(words[3]))
            for file in sorted(self._folder.iterdir())
            for words in _lines(file)
            if words[0] == "graph"
        ]


def between(steps: Iterable[Step], begin: float, end: float) -> list[Step]:
    """Those that ended in the window."""
    return [step for step in steps if begin <= step.end <= end]


def periods(steps: Sequence[Step]) -> list[Period]:
    """Of requests of one picture each: a step after which no lane was left says nothing of the next."""
    pairs = itertools.pairwise(steps)
    return [Period(later, later.end - step.end) for step, later in pairs if step.left < step.lanes]


def fullest(found: Sequence[Period]) -> list[Period]:
    """Those of the steps with the most lanes.

    Raises:
        BenchmarkError: there is none.
    """
    if not found:
        raise BenchmarkError("load", "no step followed upon another", "a longer load")
    most = max(period.step.lanes for period in found)
    return [period for period in found if period.step.lanes == most]


def covered(runs: Iterable[GraphRun], begin: float, end: float) -> float:
    """Seconds of the window in which at least one graph ran."""
    total, reached = 0.0, begin
    for run in sorted(runs, key=lambda run: run.begin):
        start, stop = max(run.begin, reached), min(run.end, end)
        if stop > start:
            total += stop - start
            reached = stop
    return total


def _lines(path: Path) -> Iterator[list[str]]:
    """Whole lines only: the last one may still be on its way."""
    if path.exists():
        yield from (line.split() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))
