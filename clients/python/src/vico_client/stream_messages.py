"""What a stream brings, as frozen values, and the request for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from PIL import Image

from vico_client.messages import GenerateOptions, GenerateRequest


class StreamOptions(GenerateOptions, total=False):
    """The keywords of `stream`: the fields of `StreamRequest` but for the prompt."""

    progress_every: int | None


@dataclass(frozen=True)
class StreamRequest(GenerateRequest):
    """A `GenerateRequest` whose answer is watched.

    progress_every: steps from one report to the next; 1 without it, 0 = only the pictures.
    """

    progress_every: int | None = field(default=None, metadata={"datatype": "INT32"})


@dataclass(frozen=True)
class Progress:
    """How far the request is; each tells of more than the one before, and a busy server leaves some out.

    step: steps taken by the picture that is furthest. steps: of each picture. done: steps taken by every picture.
    seconds_left: until the last picture should be there; None while the server cannot say.
    """

    step: int
    steps: int
    done: tuple[int, ...]
    seconds_left: float | None

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return sum(self.done) / (self.steps * len(self.done))


@dataclass(frozen=True)
class Preview:
    """What picture `index` is expected to become, small and coarse, after `step` of its steps."""

    index: int
    step: int
    image: Image.Image


@dataclass(frozen=True)
class Picture:
    """Picture `index` of the request, done. file: as the server sent it; for `raw`, height × width × 3 bytes."""

    index: int
    image: Image.Image
    file: memoryview


StreamEvent = Union[Progress, Preview, Picture]
