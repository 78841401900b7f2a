"""What a soak is, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MAX_GROWTH = 0.03


@dataclass(frozen=True)
class Soak:
    """One run; it ends when both counts are reached."""

    swaps: int = 10_000
    """Concepts written to a slot of the bank."""
    images: int = 2_000
    """Pictures of `picture_steps` steps; the others, which are there to swap, take one."""
    picture_steps: int = 8
    concepts: int = 16
    slots: int = 2
    """So few that nearly every request needs another concept than those that are there."""
    users: int = 6
    sample_seconds: float = 2.0
    save_seconds: float = 10.0
    """Between two looks at the memory, and two saves."""

    def identity(self) -> dict[str, Any]:
        """As the result file holds it."""
        return asdict(self)
