"""The refusal of a file from elsewhere."""

from __future__ import annotations

from vico.errors import VicoError


class CheckpointError(VicoError):
    """A checkpoint that is torn, unsafe, too large, or does not hold what it must."""
