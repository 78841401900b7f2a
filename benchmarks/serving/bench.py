"""What every measurement works with: settings, results, concepts, and servers that start when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.prepared import concept_ids
from benchmarks.serving.results import Results, Round
from benchmarks.serving.running import Running, running
from benchmarks.serving.settings import Settings
from serving.scheduling import Batching

TakeRound = Callable[[int], Round]
"""Takes round number k, counted from 0."""


@dataclass
class Bench:
    """One run of the benchmark."""

    settings: Settings
    results: Results
    graphs: Path
    registry: Path
    other_versions: Path
    """The same ids, other content."""
    say: Callable[[str], None]
    stack: ExitStack
    _servers: dict[Batching, Running] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """The concepts, the most popular first."""
        return concept_ids(self.settings.concepts)

    def server(self, batching: Batching = "in_flight") -> Running:
        """The server with this batching; one that waits takes no time."""
        if batching not in self._servers:
            self.say(f"starting a server ({batching})")
            sizes = {
                "slots": self.settings.slots,
                "max-lanes": self.settings.lanes,
                "max-queue": 4096,
                "max-client-queue": 4096,
            }
            options = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
            server = running(self.graphs, self.registry, *options, "--batching", batching)
            self._servers[batching] = self.stack.enter_context(server)
        self._servers[batching].require_alive()
        return self._servers[batching]


@dataclass(frozen=True)
class Measurement:
    """Figures that are taken together."""

    name: str
    keys: tuple[str, ...]
    """The figures that the contract asks for; a round may tell more."""
    opened: Callable[[Bench], AbstractContextManager[TakeRound]]
    """Prepares what all rounds share."""

    def run(self, bench: Bench) -> None:
        """Take the rounds that are missing."""
        missing = range(len(bench.results.rounds.get(self.name, [])), bench.settings.rounds)
        if not missing:
            bench.say(f"{self.name}: measured already")
            return
        with self.opened(bench) as take:
            for number in missing:
                samples = take(number)
                bench.results.add(self.name, samples)
                told = ", ".join(f"{key} {value:.3g}" for key, value in samples.items())
                bench.say(f"{self.name} {number + 1}/{bench.settings.rounds}: {told}")
