"""What is drawn: pairs of concepts, scenes, seeds, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from training.errors import TrainingError
from training.evaluation.maker import SamplingSettings
from training.evaluation.subject import Subject

PAIRS = (
    ("siamese-cat", "chicken"),
    ("bulldog", "fire-hydrant"),
    ("rocking-horse", "teapot"),
    ("toy-train", "doll-house"),
    ("backpack", "sneakers"),
    ("electric-guitar", "biplane"),
)
"""The twelve concepts on which no recipe was found, once each."""
SCENES = ("on the beach", "in the snow", "on the grass")
FIRST, SECOND = "*a", "*b"
SETTINGS = SamplingSettings(sampler="dpmpp_2m", steps=25, guidance_scale=4.5)
"""As the evaluation's toy suite."""


@dataclass(frozen=True)
class Plan:
    """One run; scenes and seeds for every pair."""

    pairs: tuple[tuple[str, str], ...] = PAIRS
    scenes: tuple[str, ...] = SCENES
    seeds: int = 4
    settings: SamplingSettings = SETTINGS


def parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """`a+b,c+d` → pairs; an empty text is all six.

    Raises:
        TrainingError: a pair is not two different concepts.
    """
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, plus, second = part.partition("+")
        if not (first and plus and second) or first == second or "+" in second:
            raise TrainingError("pairs", f"{part!r} is not two concepts", "a+b,c+d")
        pairs.append((first, second))
    return tuple(pairs) or PAIRS


def require_known(plan: Plan, subjects: Mapping[str, Subject]) -> None:
    """Raises `TrainingError` where a pair names a concept without photos."""
    if unknown := sorted({name for pair in plan.pairs for name in pair} - set(subjects)):
        raise TrainingError("pairs", f"there is no {', '.join(unknown)}", ", ".join(subjects))
