"""Progress as a datagram: from the loop's process to that of the streams, small however large the pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.streaming.preview import Thumbnail

MAX_BYTES = 128 * 2**10
"""Eight thumbnails and what is said of them."""

_LENGTH = 4


@dataclass(frozen=True, eq=False)
class Letter:
    """What the client of one call is shown."""

    call: str
    done: tuple[int, ...]
    steps: int
    seconds_left: float | None
    thumbnails: tuple[Thumbnail | None, ...]
    """Of every picture; None before its first step."""

    def to_bytes(self) -> bytes:
        """The length of the JSON that follows, it, and the pixels of the thumbnails that there are."""
        head = {
            "call": self.call,
            "done": self.done,
            "steps": self.steps,
            "seconds_left": self.seconds_left,
            "sides": [None if shown is None else shown.shape[:2] for shown in self.thumbnails],
        }
        text = json.dumps(head).encode()
        pixels = b"".join(shown.tobytes() for shown in self.thumbnails if shown is not None)
        return len(text).to_bytes(_LENGTH, "little") + text + pixels

    @staticmethod
    def from_bytes(content: bytes) -> Letter:
        """The inverse of `to_bytes`.

        Raises:
            ValueError, KeyError, TypeError: torn, or something else.
        """
        end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
        head = json.loads(content[_LENGTH:end])
        thumbnails = _thumbnails(content[end:], head["sides"])
        return Letter(head["call"], tuple(head["done"]), head["steps"], head["seconds_left"], thumbnails)


def _thumbnails(pixels: bytes, sides: Sequence[Sequence[int] | None]) -> tuple[Thumbnail | None, ...]:
    shown: list[Thumbnail | None] = []
    offset = 0
    for side in sides:
        if side is None:
            shown.append(None)
            continue
        height, width = side
        flat = np.frombuffer(pixels, np.uint8, height * width * 3, offset)
        shown.append(flat.reshape(height, width, 3))
        offset += flat.size
    return tuple(shown)
