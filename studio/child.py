"""`vico train` as a child process: its command line, and its events as they come out of it (training/events.py)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from studio.order import Order

_MAIN = "from vico.cli import main; main()"


class _Event(BaseModel):
    # a newer trainer may tell more
    model_config = ConfigDict(frozen=True, extra="ignore")


class SeenPhoto(_Event):
    """A photo, and the photo with all that does not seem to be the thing darkened; JPEG in base64."""

    name: str
    photo: str
    masked: str
    enlarged: bool


class Photos(_Event):
    """What is trained on."""

    event: Literal["photos"]
    photos: tuple[SeenPhoto, ...]


class Step(_Event):
    """A step was taken. seconds: since the first."""

    event: Literal["step"]
    step: int
    steps: int
    loss: float
    seconds: float


class Drawn(_Event):
    """What the concept draws so far; JPEG in base64."""

    prompt: str
    picture: str


class Pictures(_Event):
    """Drawn on the way."""

    event: Literal["pictures"]
    pictures: tuple[Drawn, ...]


class Written(_Event):
    """The package is there."""

    event: Literal["written"]
    digest: str


class Refused(_Event):
    """It could not be done."""

    event: Literal["refused"]
    field: str
    problem: str
    accepted: str


Event = Photos | Step | Pictures | Written | Refused
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def read_event(line: str) -> Event | None:
    """None for a line that is no event: libraries print what they like."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None


def package_of(order: Order, work: Path) -> Path:
    """Where the child writes the concept package; it leaves its other files beside it."""
    return work / f"{order.name}.safetensors"


def train_command(order: Order, base: Path, work: Path, *, look: bool) -> list[str]:
    """For the photos in `work`/photos. look: only where the thing is in them."""
    options: dict[str, object] = {
        "base": base,
        "photos": work / "photos",
        "init-word": order.word,
        "out": package_of(order, work),
    }
    if order.steps is not None:
        options["steps"] = order.steps
    if order.licence:
        options["licence"] = order.licence
    # joined by "=": what people type may begin with a dash
    parts = [f"--{name}={os.fspath(value) if isinstance(value, Path) else value}" for name, value in options.items()]
    return [sys.executable, "-c", _MAIN, "train", *parts, "--look" if look else "--json"]
