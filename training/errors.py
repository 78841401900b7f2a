"""Refusals of the training room."""

from __future__ import annotations

from vico.errors import VicoError


class TrainingError(VicoError):
    """A training run that cannot begin or go on as asked."""


class PhotoError(TrainingError):
    """A folder of photos, or one photo in it, that cannot be learned from."""


class RecipeError(TrainingError):
    """A recipe that is absent, malformed, or out of range."""


class CheckpointError(TrainingError):
    """A checkpoint that is absent, torn, or of another run."""
