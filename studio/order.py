"""What somebody asks to be taught."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from studio.errors import StudioError
from studio.numbers import whole
from vico.concept import validate_concept_id
from vico.errors import ConceptError

_MAX_STEPS = 20_000
_WORD = re.compile(r"[^\W\d_]+(?:[ -][^\W\d_]+){0,3}")


@dataclass(frozen=True)
class Order:
    """One thing to learn. name: the concept's id. word: what kind of thing it is. steps: None = the recipe's.

    keep: whether the photos stay after training. replace: whether a concept of that name may be replaced.
    """

    name: str
    word: str
    photos: tuple[Path, ...]
    steps: int | None = None
    licence: str = ""
    keep: bool = False
    replace: bool = False


def make_order(
    name: str,
    word: str,
    photos: list[str] | None,
    *,
    steps: str | None = None,
    licence: str = "",
    keep: bool = False,
    replace: bool = False,
) -> Order:
    """From what stands in the form.

    Raises:
        StudioError: the field that is not filled in as it should be.
    """
    concept_id, kind = slug(name), " ".join(word.split()).lower()
    if not concept_id:
        raise StudioError("name", "none yet", "a name to call it by later, such as my-teddy")
    try:
        validate_concept_id(concept_id)
    except ConceptError:
        raise StudioError("name", f"{concept_id!r} is too long", "at most 64 characters") from None
    if not _WORD.fullmatch(kind):
        raise StudioError("what is it", "none yet" if not kind else f"{kind!r}", "one ordinary word, such as dog")
    taken = whole("steps", steps, 1, _MAX_STEPS, "for the usual number")
    paths = tuple(Path(photo) for photo in photos or [])
    return Order(concept_id, kind, paths, taken, licence.strip()[:1000], keep, replace)


def slug(name: str) -> str:
    """A name as people write it → a concept's id: "My Teddy!" → "my-teddy"; "" if nothing of it can be kept."""
    return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-._")
