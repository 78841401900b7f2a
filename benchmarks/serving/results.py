"""The result file: saved after every round, so that a stopped run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from vico.concept.atomic import write_atomically
from vico.errors import VicoError

Round = Mapping[str, float]
"""One sample of each key of a measurement; its two sides were taken side by side."""


class BenchmarkError(VicoError):
    """A benchmark that cannot be run as asked, or whose figures would mean nothing."""


@dataclass
class Results:
    """What was measured so far."""

    path: Path
    settings: dict[str, Any]
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """By measurement."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else was seen, by name."""

    def add(self, measurement: str, samples: Round) -> None:
        """Keep a round, on disk too."""
        self.rounds.setdefault(measurement, []).append(dict(samples))
        self.save()

    def note(self, name: str, fact: Any) -> None:
        """Keep a fact, on disk too."""
        self.facts[name] = fact
        self.save()

    def samples(self) -> dict[str, list[float]]:
        """Every key's samples, one a round."""
        found: dict[str, list[float]] = {}
        for rounds in self.rounds.values():
            for samples in rounds:
                for key, value in samples.items():
                    found.setdefault(key, []).append(value)
        return found

    def save(self) -> None:
        """Write the file: each key's median and spread first, then what they were made of."""
        figures = {
            key: {"value": median(taken), "spread": [min(taken), max(taken)], "samples": taken}
            for key, taken in self.samples().items()
        }
        content = figures | {"settings": self.settings, "facts": self.facts, "rounds": self.rounds}
        write_atomically(self.path, json.dumps(content, indent=1).encode() + b"\n")


def open_results(path: Path, settings: dict[str, Any]) -> Results:
    """The results at `path` to go on with, or new ones.

    Raises:
        BenchmarkError: the file is no result of this benchmark, or of other settings.
    """
    if not path.exists():
        return Results(path, settings)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        results = Results(path, content["settings"], content["rounds"], content["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        raise BenchmarkError("json", f"{path.name} is no result of this benchmark", "a new file") from None
    if results.settings != json.loads(json.dumps(settings)):
        raise BenchmarkError("json", f"{path.name} was measured with other settings", "a new file, or the same")
    return results
