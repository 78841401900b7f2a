"""Subjects: the things of an evaluation, with the photos a concept was trained on and others kept back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from training.errors import TrainingError
from training.photos import load_photo, load_photos

INDEX = "concepts.json"
LOOK_ALIKES = "look-alikes"


class SubjectError(TrainingError):
    """Photos of an evaluation that are absent or not as their index says."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A thing in photos, all RGB, square and of one size."""

    id: str
    init_word: str  # the base's word that is nearest to the thing
    train: tuple[Image.Image, ...]  # what a concept is trained on
    held_out: tuple[Image.Image, ...]  # other views, which no training sees


def load_subjects(folder: Path, size: int) -> tuple[Subject, ...]:
    """Every subject of a folder with a `concepts.json` (as `assets/photos` has), photos `size` pixels square.

    Raises:
        SubjectError: no index, or it is not a list of {id, init_word, train, heldout}.
        PhotoError: a photo is absent or cannot be used.
    """
    try:
        entries = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SubjectError("photos", f"{folder} has no readable {INDEX}", "a folder such as assets/photos") from None
    try:
        return tuple(_subject(folder, entry, size) for entry in entries)
    except (KeyError, TypeError):
        raise SubjectError(
            "photos", f"{INDEX} has an entry without a field", "a list of {id, init_word, train, heldout}"
        ) from None


def plain_subject(subject_id: str, init_word: str, photos: Path, held_out: Path | None, size: int) -> Subject:
    """A subject from a plain folder of photos and, if there is one, a folder of held-out photos.

    Raises:
        PhotoError: a folder is absent or empty, or a photo cannot be used.
    """
    kept_back = () if held_out is None else load_photos(held_out, size)
    return Subject(
        subject_id,
        init_word,
        tuple(photo.picture for photo in load_photos(photos, size)),
        tuple(photo.picture for photo in kept_back),
    )


def _subject(folder: Path, entry: dict[str, Any], size: int) -> Subject:
    def pictures(names: list[str]) -> tuple[Image.Image, ...]:
        return tuple(load_photo(folder / entry["id"] / name, size).picture for name in names)

    return Subject(entry["id"], entry["init_word"], pictures(entry["train"]), pictures(entry["heldout"]))


def load_look_alikes(folder: Path | None) -> dict[str, tuple[Image.Image, ...]]:
    """Pictures in `look-alikes/<init word>/` beside an index, by init word; empty where there are none."""
    root = None if folder is None else folder / LOOK_ALIKES
    if root is None or not root.is_dir():
        return {}
    return {
        words.name: tuple(Image.open(file).convert("RGB") for file in sorted(words.glob("*.png")))
        for words in sorted(root.iterdir())
        if words.is_dir()
    }
