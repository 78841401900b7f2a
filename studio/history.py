"""What was drawn before: lives in the reader's own browser, so nothing in it is trusted when it comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from studio.wish import MAX_SEED, Wish

MAX_ENTRIES = 24
_CONFIG = ConfigDict(extra="ignore")


@dataclass(frozen=True, config=_CONFIG)
class Entry:
    """A picture that was made. prompt: as it was typed. concept: "" = the plain base. thumbnail: a JPEG data URL."""

    prompt: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    concept: Annotated[str, StringConstraints(max_length=200)]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]
    image_guidance: Annotated[float, Field(ge=0, le=1.5)]
    guidance_scale: Annotated[float, Field(ge=1, le=30)]
    preset: Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}$")]
    steps: Annotated[int, Field(ge=1, le=100)] | None
    negative_prompt: Annotated[str, StringConstraints(max_length=2000)]
    thumbnail: Annotated[
        str, StringConstraints(max_length=40_000, pattern=r"^data:image/jpeg;base64,[A-Za-z0-9+/]+=*$")
    ]


_ENTRY = TypeAdapter(Entry)


def entry_of(wish: Wish, thumbnail: str) -> Entry:
    """What the history keeps of a picture."""
    return Entry(
        wish.prompt,
        wish.concept,
        wish.seed,
        wish.image_guidance,
        wish.guidance_scale,
        wish.preset,
        wish.steps,
        wish.negative_prompt,
        thumbnail,
    )


def read_history(stored: object) -> tuple[Entry, ...]:
    """Entries, newest first, from what a browser gave; what is no entry is passed over."""
    entries = []
    for item in stored[:MAX_ENTRIES] if isinstance(stored, list) else []:
        try:
            entries.append(_ENTRY.validate_python(item))
        except ValidationError:
            continue
    return tuple(entries)


def add(history: Sequence[Entry], new: Sequence[Entry]) -> tuple[Entry, ...]:
    """The new ones before the old; the oldest go."""
    return (*new, *history)[:MAX_ENTRIES]


def to_stored(history: Sequence[Entry]) -> list[dict[str, Any]]:
    """As plain JSON values."""
    return [_ENTRY.dump_python(entry, mode="json") for entry in history]
