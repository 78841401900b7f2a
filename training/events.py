"""What a training run tells a program that watches it: JSON lines, one event a line (`vico train --json`)."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class PhotoSeen:
    """A photo, and the photo with all that does not seem to be the thing darkened; both JPEG in base64."""

    name: str
    enlarged: bool  # it has fewer pixels than are trained on
    photo: str
    masked: str


@dataclass(frozen=True)
class PhotosSeen:
    """First of all: what is trained on, and where in it the thing was found."""

    photos: tuple[PhotoSeen, ...]


@dataclass(frozen=True)
class StepTaken:
    """After each step. loss: running mean of the error of ε. seconds: since the first step."""

    step: int
    steps: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class PictureDrawn:
    """What the concept draws so far; JPEG in base64."""

    prompt: str
    picture: str


@dataclass(frozen=True)
class PicturesDrawn:
    """At the steps that the recipe draws validation pictures after."""

    step: int
    pictures: tuple[PictureDrawn, ...]


@dataclass(frozen=True)
class Written:
    """Last, if all went well: the concept package is in its place."""

    concept: str
    digest: str


@dataclass(frozen=True)
class Refused:
    """Last, if not: as `VicoError` has it."""

    field: str
    problem: str
    accepted: str


Event = PhotosSeen | StepTaken | PicturesDrawn | Written | Refused
Watch = Callable[[Event], None]

_KINDS = {PhotosSeen: "photos", StepTaken: "step", PicturesDrawn: "pictures", Written: "written", Refused: "refused"}


def unwatched(_event: Event) -> None:
    """For runs that nobody watches."""


def as_line(event: Event) -> str:
    """One line of JSON: the event's fields, and its kind as `event`."""
    content: dict[str, Any] = {"event": _KINDS[type(event)], **asdict(event)}
    return json.dumps(content)


def jpeg(picture: Image.Image) -> str:
    """A picture as it travels in an event."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode()
