"""A pair: one method on one concept, and the key that says what its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.quality.errors import QualityError
from training.baselines.method import Method
from training.baselines.methods import make_method
from training.evaluation.subject import INDEX
from training.evaluation.suite import Suite, load_suite
from vico.base_files import base_digest


@dataclass(frozen=True)
class Setting:
    """What all pairs of a comparison share."""

    base: Path
    photos: Path
    suite: str
    seconds: float  # training time of every pair, on a `training.baselines.method.Stopwatch`
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """One training and its pictures; plain values, so that it goes to another process."""

    label: str  # the row of the table; the method's name but for ablations
    method: str
    concept: str
    setting: Setting
    overrides: Mapping[str, Any] = field(default_factory=dict)  # of the method's recipe
    photos: int | None = None  # only the first so many training photos
    image_guidance: float | None = None  # where it is not the suite's

    @property
    def suite(self) -> Suite:
        """The prompts that are drawn."""
        suite = load_suite(self.setting.suite)
        if self.image_guidance is None:
            return suite
        return replace(suite, settings=replace(suite.settings, image_guidance=self.image_guidance))

    def make(self) -> Method:
        """The method with its recipe.

        Raises:
            RecipeError: an unknown method, or a field that its recipe does not have.
        """
        return make_method(self.method, self.setting.base, self.suite.settings, self.overrides)


def key_of(pair: Pair) -> str:
    """SHA-256 of everything that decides a pair's result; two pairs of one key have the same result.

    Raises:
        QualityError: the concept is not among the photos.
    """
    method = pair.make()
    depends = {
        "base": base_digest(pair.setting.base),
        "method": [pair.method, method.version, dict(method.recipe)],
        "photos": _photos_digest(pair),
        "suite": asdict(pair.suite),
        "seed": pair.setting.seed,
        "seconds": pair.setting.seconds,
    }
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def concepts_in(photos: Path) -> tuple[str, ...]:
    """Ids of the concepts of a folder, in its index's order."""
    return tuple(entry["id"] for entry in _index(photos))


def require_concepts(photos: Path, wanted: Sequence[str]) -> None:
    """Refuse a concept that the folder does not have."""
    known = concepts_in(photos)
    for concept in wanted:
        if concept not in known:
            raise QualityError("concepts", f"there is no {concept!r}", ", ".join(known))


def _photos_digest(pair: Pair) -> str:
    require_concepts(pair.setting.photos, [pair.concept])
    entry = next(entry for entry in _index(pair.setting.photos) if entry["id"] == pair.concept)
    digest = hashlib.sha256(entry["init_word"].encode())
    for name in entry["train"][: pair.photos]:
        digest.update(hashlib.sha256((pair.setting.photos / pair.concept / name).read_bytes()).digest())
    return digest.hexdigest()


def _index(photos: Path) -> list[dict[str, Any]]:
    try:
        entries: list[dict[str, Any]] = json.loads((photos / INDEX).read_text())
    except (OSError, ValueError):
        raise QualityError("photos", f"{photos} has no readable {INDEX}", "a folder such as assets/photos") from None
    return entries
