"""The result file: saved after every measurement, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vico.concept.atomic import write_atomically
from vico.errors import VicoError


class BenchmarkError(VicoError):
    """A benchmark that cannot be run as asked."""


@dataclass(frozen=True)
class Sample:
    """One run of one unit, in seconds."""

    wall: float
    cpu: float
    """Of all threads of its process."""


@dataclass
class Results:
    """What was measured so far. `samples[duel][unit]` holds one sample per round, in order."""

    path: Path
    settings: dict[str, Any]
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """Probes by name, and "peak_rss.<contender>" in bytes."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a contender did not run."""

    def of(self, duel: str, unit: str) -> list[Sample]:
        """The samples of a unit in a duel, one per round; empty if it was not measured."""
        return self.samples.get(duel, {}).get(unit, [])

    def add(self, duel: str, unit: str, sample: Sample) -> None:
        """Keep a sample, on disk too."""
        self.samples.setdefault(duel, {}).setdefault(unit, []).append(sample)
        self.save()

    def note(self, name: str, fact: Any) -> None:
        """Keep a fact, on disk too."""
        self.facts[name] = fact
        self.save()

    def save(self) -> None:
        """Write the file: the ratios first, then what they were made of."""
        from benchmarks.denoiser.ratios import all_ratios

        content = {
            **{key: ratio.to_json() for key, ratio in all_ratios(self).items()},
            "settings": self.settings,
            "facts": self.facts,
            "failures": self.failures,
            "samples": {
                duel: {unit: [[s.wall, s.cpu] for s in taken] for unit, taken in units.items()}
                for duel, units in self.samples.items()
            },
        }
        write_atomically(self.path, json.dumps(content, indent=1).encode() + b"\n")


def open_results(path: Path, settings: dict[str, Any], *, resume: bool) -> Results:
    """New results at `path`, or with `resume` the ones that are there.

    Raises:
        BenchmarkError: there are results already and `resume` is False, or they are of other settings.
    """
    if not path.exists():
        return Results(path, settings)
    if not resume:
        raise BenchmarkError("json", f"{path.name} is there already", "a new file, or --resume")
    results = read_results(path)
    if results.settings != json.loads(json.dumps(settings)):
        raise BenchmarkError("json", f"{path.name} was measured with {results.settings}", f"{settings}")
    # what failed is tried again: the cause may be mended
    results.failures.clear()
    return results


def read_results(path: Path) -> Results:
    """The results in a file.

    Raises:
        BenchmarkError: it is absent or not one of ours.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        samples = {
            duel: {unit: [Sample(*pair) for pair in taken] for unit, taken in units.items()}
            for duel, units in content["samples"].items()
        }
        return Results(path, content["settings"], samples, content["facts"], content["failures"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BenchmarkError("json", f"{path.name} is no result of this benchmark", "a file it wrote") from None
