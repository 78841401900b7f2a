"""Previews pass the safety checker too: they show what the picture will be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.outputs.checker import SafetyChecker
from serving.outputs.verdict import Unchecked, facts_of, shown
from serving.request import GenerateRequest
from serving.streaming.preview import Thumbnail


@dataclass(frozen=True)
class PreviewGuard:
    """What of the previews a client may see."""

    checker: SafetyChecker | None = None

    def __call__(self, request: GenerateRequest, thumbnails: Sequence[Thumbnail | None]) -> list[Thumbnail | None]:
        """Thumbnails [h, w, 3] of one request; what is refused, and what could not be checked, is black."""
        there = [thumbnail for thumbnail in thumbnails if thumbnail is not None]
        if self.checker is None or not there:
            return list(thumbnails)
        try:
            verdicts = self.checker.judge(there, facts_of(request, "preview"))
        except Unchecked:
            return [None if thumbnail is None else np.zeros_like(thumbnail) for thumbnail in thumbnails]
        allowed = iter([shown(thumbnail, verdict) for thumbnail, verdict in zip(there, verdicts, strict=True)])
        return [None if thumbnail is None else next(allowed) for thumbnail in thumbnails]
