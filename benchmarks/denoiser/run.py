"""Runs the duels: workers are loaded as they are needed, take turns, and leave when no later duel wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.denoiser.contenders import CONTENDERS
from benchmarks.denoiser.results import BenchmarkError, Results
from benchmarks.denoiser.settings import Duel, Settings, Unit
from benchmarks.denoiser.worker import Worker

Say = Callable[[str], None]


class Runner:
    """One run through the duels; at most the workers of one duel are alive, of a duel `apart` one."""

    def __init__(self, settings: Settings, results: Results, say: Say) -> None:
        self._settings, self._results, self._say = settings, results, say
        self._workers: dict[str, Worker] = {}

    def run(self, duels: Sequence[Duel]) -> None:
        """Every duel, as many rounds as are missing."""
        try:
            for duel in duels:
                self._keep_only(duel.contenders)
                self._run_duel(duel)
        finally:
            self._keep_only(())

    def _run_duel(self, duel: Duel) -> None:
        for index in range(self._settings.rounds):
            for unit in duel.units:
                if len(self._results.of(duel.name, unit.name)) <= index:
                    if duel.apart:
                        self._keep_only([unit.contender])
                    self._measure(duel, unit, index)

    def _measure(self, duel: Duel, unit: Unit, index: int) -> None:
        if unit.contender in self._results.failures:
            return
        try:
            sample = self._worker(unit.contender).run(unit.work)
        except BenchmarkError as error:
            # the others go on: what failed is in the results, and tried again with --resume
            self._results.failures[unit.contender] = str(error)
            self._results.save()
            self._workers.pop(unit.contender, None)
            self._say(f"{unit.name} failed: {error}")
            return
        self._results.add(duel.name, unit.name, sample)
        rounds = self._settings.rounds
        self._say(f"{duel.name:14} {index + 1}/{rounds} {unit.name:28} {sample.wall:9.3f} s  cpu {sample.cpu:9.3f} s")

    def _worker(self, name: str) -> Worker:
        if name not in self._workers:
            self._say(f"loading {name}")
            self._workers[name] = Worker(name, CONTENDERS[name], self._settings)
        return self._workers[name]

    def _keep_only(self, names: Sequence[str]) -> None:
        for name in [name for name in self._workers if name not in names]:
            peak = self._workers.pop(name).close()
            if peak:
                known = self._results.facts.get(f"peak_rss.{name}", 0)
                self._results.note(f"peak_rss.{name}", max(peak, known))
