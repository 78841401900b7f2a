"""The gate: a concept that is no more like its photos than the plain base's own pictures is refused."""

from __future__ import annotations

from training.errors import TrainingError
from training.evaluation.scorer import Scores


class GateError(TrainingError):
    """A concept whose identity does not beat the floor."""


def gate(scores: Scores) -> None:
    """Refuse figures whose object-crop identity does not beat the floor under every encoder.

    Raises:
        GateError: names the first encoder that does not see the thing, with both figures.
    """
    for encoder, identity in scores.identity_crop.items():
        floor = scores.floor_crop[encoder]
        # written so that not-a-number is refused too
        if not identity > floor:
            raise GateError(
                "gate",
                f"identity {identity:.3f} under {encoder} does not beat the floor {floor:.3f}",
                "a concept nearer to its held-out photos than pictures of its init word are; train it longer",
            )
