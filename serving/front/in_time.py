"""Whether a request can be done in time, asked before anything is done for it."""

from __future__ import annotations

import struct
from typing import Any

import grpc

from serving.caller import Caller
from serving.deadline import Deadline
from serving.foresight.asking import Foresight
from serving.foresight.question import FIELDS, Question, Reading
from serving.front.refusal import Refused

MAX_NAME_BYTES = 64
"""Of a preset, sampler or concept that is worth asking about."""
_READ = ("concept", "prompt", "negative_prompt")


async def require_time(foresight: Foresight, cleaned: Any, caller: Caller) -> None:
    """Hold a message that `serving.front.check.clean` made against the loop; what has no deadline has time.

    Of a concept that is hidden from the caller nothing is asked: what is known of it would show.

    Raises:
        Refused: it cannot be done in time, or there is no room for it.
    """
    microseconds = cleaned.parameters["timeout"].int64_param if "timeout" in cleaned.parameters else 0
    if not microseconds:
        return
    deadline, reading = Deadline.after(microseconds), reading_of(cleaned)
    if reading is not None and not caller.sees(reading.concept):
        reading = None
    refusal = await foresight.refusal(Question(fields_of_time(cleaned), caller.client, deadline.at, reading))
    if refusal is not None:
        # as the loop's own refusal comes through Triton, which has one code for load and deadlines (`to_wire`)
        accepted = f"{refusal.accepted} [{refusal.status}]"
        raise Refused(grpc.StatusCode.UNAVAILABLE, refusal.field, refusal.problem, accepted)


def fields_of_time(cleaned: Any) -> dict[str, str | int | float]:
    """Of such a message: the values that decide how long it takes; what is no single value is left out."""
    found: dict[str, str | int | float] = {}
    for tensor, content in zip(cleaned.inputs, cleaned.raw_input_contents, strict=True):
        kind = FIELDS.get(tensor.name)
        if kind is str and len(content) <= MAX_NAME_BYTES:
            found[tensor.name] = content[4:].decode("utf-8", "replace")
        elif kind in (int, float) and len(content) == 4:
            found[tensor.name] = struct.unpack("<i" if kind is int else "<f", content)[0]
    return found


def reading_of(cleaned: Any) -> Reading | None:
    """Of such a message: what it reads, where the loop can know of it. What is malformed is told by its stage."""
    contents = {tensor.name: k for k, tensor in enumerate(cleaned.inputs)}
    if "reference_image" in contents:
        return None
    texts = {name: cleaned.raw_input_contents[contents[name]][4:] for name in _READ if name in contents}
    reading = Reading.of(*(texts.get(name, b"").decode("utf-8", "replace") for name in _READ))
    return reading if reading is not None and len(reading.concept) <= MAX_NAME_BYTES else None
