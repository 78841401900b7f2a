"""Everything that is held fixed, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

STARTS = 60.0
"""Seconds for concepts to be made and two servers to start, guessed for the estimate of time."""
SCENES = (
    "on the beach", "in the snow", "on a red carpet", "on the grass", "on a wooden table", "in a forest", "at night",
    "in the rain", "on a street", "in a kitchen", "on a shelf", "in a garden", "by a window", "on a mountain",
    "in the desert", "on a boat", "in a museum", "on a blue cloth", "beside a river", "under a tree",
)  # fmt: skip
GUIDANCE_SCALE = 4.0
"""The toy base's. Above 1: every picture takes two rows of a step."""
ROWS = 2


@dataclass(frozen=True)
class Settings:
    """One run. Durations in seconds."""

    rounds: int = 3
    concepts: int = 64
    slots: int = 16
    lanes: int = 8
    curve: tuple[int, ...] = (1, 2, 4, 8)
    """Users of a closed loop, one lane each."""
    step_counts: tuple[int, ...] = (8, 12, 25, 50)
    """Of a request in mixed traffic, equally likely: those of the presets, and a client's own."""
    picture_steps: int = 25
    load: float = 0.8
    """Of capacity, for latency."""
    overload: float = 1.5
    deadlines: tuple[float, ...] = (4.0, 8.0, 16.0)
    """Of requests in overload, equally likely, in times that a picture of 25 steps takes by itself."""
    capacity_seconds: float = 20.0
    latency_seconds: float = 75.0
    overload_seconds: float = 30.0
    closed_seconds: float = 12.0
    swap_seconds: float = 20.0
    warmup_seconds: float = 4.0
    alone: int = 12
    """Pictures one after the other, for the overhead."""
    new_versions_per_second: float = 4.0
    """Concepts replaced in the registry, while swapping is measured."""
    compared: int = 4
    """Pictures of each mixed load that are asked for again, alone."""
    seed: int = 1

    @property
    def minutes(self) -> float:
        """What the whole is expected to take on an idle machine."""
        latency = self.capacity_seconds + self.rounds * 2 * (1.15 * self.latency_seconds + 10)
        overload = self.capacity_seconds + 10 + self.rounds * (self.overload_seconds + 10)
        closed = (self.closed_seconds + 6) * self.rounds * (len(self.curve) + 2 + 1)
        swaps = self.rounds * 2 * (self.swap_seconds + 6)
        return (latency + overload + closed + swaps + self.rounds * self.alone + STARTS) / 60

    def identity(self) -> dict[str, Any]:
        """What must be equal for a result file to be gone on with."""
        return asdict(self)


FULL = Settings()
QUICK = Settings(
    rounds=1,
    concepts=4,
    slots=2,
    curve=(1, 8),
    step_counts=(2, 6),
    picture_steps=6,
    capacity_seconds=2.0,
    latency_seconds=2.0,
    overload_seconds=2.0,
    closed_seconds=2.0,
    swap_seconds=2.0,
    warmup_seconds=0.2,
    alone=2,
    compared=1,
    deadlines=(0.5, 60.0),
)
"""To see that it runs; its figures say nothing."""
