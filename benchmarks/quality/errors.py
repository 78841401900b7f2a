"""Refusals of the comparison."""

from __future__ import annotations

from vico.errors import VicoError


class QualityError(VicoError):
    """A comparison that cannot run or be reported as asked."""
