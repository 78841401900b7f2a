"""Trying values of a recipe on the tuning concepts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.quality.errors import QualityError
from benchmarks.quality.pair import Pair, Setting
from training.baselines.methods import PLAIN


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """`field=value` each, the value as JSON or else as it stands.

    Raises:
        QualityError: one is not of that form.
    """
    parsed: dict[str, Any] = {}
    for change in changes:
        name, sign, value = change.partition("=")
        if not (name and sign):
            raise QualityError("set", f"{change!r} sets nothing", "field=value, e.g. steps=200")
        try:
            parsed[name] = json.loads(value)
        except ValueError:
            parsed[name] = value
    return parsed


def tuning_pairs(setting: Setting, method: str, concepts: Sequence[str], changes: dict[str, Any]) -> list[Pair]:
    """A pair per concept under a label of the changes, so that what was tried before is found again."""
    mark = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:12]
    label = f"tune-{method}-{mark}" if changes else method
    tried = [Pair(label, method, concept, setting, changes) for concept in concepts]
    return [*(Pair(PLAIN, PLAIN, concept, setting) for concept in concepts), *tried]
