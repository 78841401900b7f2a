"""Whole numbers as people type them. Gradio's own number field turns an empty one into 0 when it is unfolded."""

from __future__ import annotations

import re

from studio.errors import StudioError


def whole(field: str, text: str | None, low: int, high: int, empty: str) -> int | None:
    """The number; None for nothing typed. empty: what nothing means, for people.

    Raises:
        StudioError: it is no whole number from `low` to `high`.
    """
    typed = (text or "").strip()
    if not typed:
        return None
    # ASCII digits, few enough for int() to be quick
    if not re.fullmatch(r"[0-9]{1,18}", typed) or not low <= int(typed) <= high:
        raise StudioError(field, repr(typed[:20]), f"a whole number from {low} to {high}, or nothing {empty}")
    return int(typed)
