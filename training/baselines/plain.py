"""The base as it is, asked for the init word: nothing is learned. The floor of identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.baselines.method import Trained
from training.evaluation.maker import SamplingSettings, plain_maker
from training.evaluation.subject import Subject
from vico.base import Base


@dataclass(frozen=True)
class Plain:
    """Draws without having learned."""

    settings: SamplingSettings
    name: str = "plain"
    version: int = 1
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def train(self, base: Base, subject: Subject, seed: int, seconds: float) -> Trained:
        """No training; see `Method`."""
        return Trained(plain_maker(base, subject.init_word, self.settings), 0.0, 0, 0)
