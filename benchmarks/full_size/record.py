"""What a trial found."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from vico.concept.atomic import write_atomically

_GIB = 2**30


@dataclass(frozen=True)
class Record:
    """Figures of one trial."""

    base: str
    recipe: str
    size: int  # pixels
    batch_size: int
    steps: int
    trainable_parameters: int
    peak_rss_bytes: int  # of the whole training process: base, training, one picture
    limit_bytes: int
    seconds: float  # of the whole run, loading and one picture included
    training_seconds: float  # of the steps
    killed_after_step: int
    resumed_is_equal: bool

    @property
    def passed(self) -> bool:
        """Within the memory, and the resumed run ended bit for bit where the whole one did."""
        return self.resumed_is_equal and self.peak_rss_bytes <= self.limit_bytes

    def lines(self) -> list[str]:
        """For people."""
        verdict = "equal bit for bit" if self.resumed_is_equal else "DIFFERENT"
        return [
            f"{self.base}: {self.steps} steps of {self.batch_size} rows at {self.size} px, recipe {self.recipe}",
            f"trainable parameters {self.trainable_parameters:,} ({self.trainable_parameters / 1e6:.2f} M)",
            f"peak memory {self.peak_rss_bytes / _GIB:.2f} GiB of {self.limit_bytes / _GIB:.0f} GiB",
            f"{self.training_seconds:.0f} s of training, {self.seconds:.0f} s in all",
            f"killed after step {self.killed_after_step} and resumed: {verdict}",
        ]

    def write(self, path: Path) -> None:
        """As JSON, with the machine's size and the command that prints it."""
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "device": "cpu; not run on a GPU"}
        content = {**asdict(self), "passed": self.passed, **machine, "command": "python -m benchmarks.full_size train"}
        write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")
