"""What the contract asks of the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound on a figure's median."""

    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether a figure keeps to it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


TARGETS: Mapping[str, Target] = {
    "p95_over_request_batching": Target(0.5),
    "goodput_overload": Target(0.9, at_least=True),
    "refusal_p99_ms": Target(20.0),
    "mixed_over_single": Target(1.05),
    "overhead_share": Target(0.05),
    "loop_ms_per_step": Target(1.0),
    "swap_step_p99_ratio": Target(1.2),
}
