"""What the front door asks, and what it is told: one line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256

import numpy as np

from serving.errors import ServingError, Status
from serving.fields import RawArray

FIELDS: Mapping[str, type] = {
    "preset": str, "steps": int, "sampler": str, "guidance_scale": float, "image_guidance": float, "height": int,
    "width": int, "num_images": int, "priority": int,
}  # fmt: skip
"""Of a request: what decides how long it takes."""
MAX_BYTES = 4096
"""Of a line."""


@dataclass(frozen=True)
class Reading:
    """What a request reads, told by digests: the words themselves are not for this socket."""

    concept: str
    """Its id."""
    negative: str
    """Of the concept and the negative prompt."""
    positive: str
    """Of the concept and the prompt."""

    @staticmethod
    def of(concept: str, prompt: str, negative_prompt: str) -> Reading | None:
        """Of a request's fields, whether the concept is resolved or not; None without a concept."""
        name = concept.partition("@")[0]
        if not name:
            return None
        negative, positive = (sha256(f"{name}\0{text}".encode()).hexdigest() for text in (negative_prompt, prompt))
        return Reading(name, negative, positive)


@dataclass(frozen=True)
class Question:
    """A request that has come, as far as its time depends on it."""

    fields: Mapping[str, str | int | float]
    """Some of `FIELDS`; absent = default."""
    client: str
    """Whose share of the queue it takes."""
    deadline_at: float
    """See `Deadline.at`; finite."""
    reading: Reading | None = None
    """None: no concept, or a photo in place of the concept's own, of which nothing is known."""

    def to_line(self) -> bytes:
        """For the socket."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes) -> Question:
        """The inverse of `to_line`. ValueError: it is none."""
        try:
            found = json.loads(line)
            reading = Reading(**found["reading"]) if found["reading"] else None
            return Question(dict(found["fields"]), str(found["client"]), float(found["deadline_at"]), reading)
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None

    def raw(self) -> dict[str, RawArray]:
        """The fields as the stages read them."""
        return {name: _array(value) for name, value in self.fields.items() if name in FIELDS}


@dataclass(frozen=True)
class Refusal:
    """Why it is not to be begun."""

    status: str
    """A `serving.errors.Status`."""
    field: str
    problem: str
    accepted: str

    def to_line(self) -> bytes:
        """For the socket."""
        return json.dumps(asdict(self)).encode() + b"\n"


NONE = b"{}\n"
"""The line that says: go on."""


def refusal_of(error: ServingError) -> Refusal:
    """What the loop would tell its client."""
    return Refusal(str(error.status), error.field, error.problem, error.accepted)


def read_answer(line: bytes) -> Refusal | None:
    """The refusal, or None: go on.

    Raises:
        ValueError: the line is no answer.
    """
    found = json.loads(line)
    if not found:
        return None
    try:
        return Refusal(Status(found["status"]), *(str(found[name]) for name in ("field", "problem", "accepted")))
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from None


def _array(value: str | int | float) -> RawArray:
    if isinstance(value, str):
        return np.array([value.encode()], object)
    return np.array([value], np.int32 if isinstance(value, int) else np.float32)
