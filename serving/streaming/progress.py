"""How far a request is, and who wants to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from serving.lane import FloatArray


@dataclass(frozen=True, eq=False)
class Progress:
    """A request after one of its steps."""

    done: tuple[int, ...]
    """Steps taken by each of its pictures."""
    steps: int
    """Of every picture."""
    seconds_left: float | None
    """Until all are done and decoded; None while no forecast can be made."""
    clean: tuple[FloatArray | None, ...]
    """What the sampler takes each clean latent [4, h, w] to be by now; None before a picture's first step."""


@dataclass(frozen=True, eq=False)
class Watch:
    """Whoever wants to know how far one request is."""

    every: int
    """Steps from one report to the next; at least 1."""
    tell: Callable[[Progress], None]
    """Called between two steps, in the loop's thread: must be quick."""
