"""What a stage is, and how values travel between stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.caller import CANARY_CALL
from serving.deadline import Deadline
from serving.errors import InvalidField
from serving.fields import RawArray, RawFields
from serving.report import StageReport
from serving.request import GenerateRequest
from serving.seal import Seal
from serving.telemetry.notes import note, note_routine, note_texts

NO_DEADLINE = Deadline()


class Stage(Protocol):
    """One model of the ensemble."""

    name: str

    def __call__(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> dict[str, RawArray]:
        """Serve one request.

        Args:
            inputs: by tensor name; an optional input that was not sent is absent.
            deadline: of this call by itself; the first stage writes it into the request, which the later ones read.

        Returns:
            Every output of the stage by tensor name.

        Raises:
            VicoError: the request cannot be served; its text is meant for the client.
        """


@dataclass(frozen=True, eq=False)
class Pending:
    """A request that a stage works on by itself."""

    future: Future[Any]
    """Done when `outputs` can be asked for without waiting; cancelling it gives the work up."""
    outputs: Callable[[], dict[str, RawArray]]
    """What the stage returns, or raises, once it is done; waits until then."""


class DeferredStage(Stage, Protocol):
    """A stage that works on many requests at once, each of which comes and goes when it will."""

    def begin(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> Pending:
        """As the call, but without waiting; `inputs` must stay as they are until the request is done.

        Raises:
            VicoError: the request cannot be served; its text is meant for the client.
        """

    def close(self) -> None:
        """Finish what was begun, and begin nothing more."""


def text_tensor(*texts: str) -> npt.NDArray[np.object_]:
    """BYTES [n] of UTF-8 texts."""
    return bytes_tensor([text.encode() for text in texts])


def bytes_tensor(values: Sequence[bytes]) -> npt.NDArray[np.object_]:
    """BYTES [n]. Filled one by one: numpy would cut trailing zero bytes off a list of bytes."""
    tensor: npt.NDArray[np.object_] = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        tensor[i] = value
    return tensor


def request_of(inputs: RawFields, seal: Seal) -> GenerateRequest:
    """The validated request that the first stage handed on.

    Raises:
        InvalidField: a client called the stage by itself.
    """
    request = GenerateRequest.from_json(seal.open(inputs["request"][0]))
    note_request(request)
    return request


def note_request(request: GenerateRequest) -> None:
    """What log and trace may know of a request, and what they must not."""
    note(concept=request.concept, images=request.num_images)
    note_texts(request.prompt, request.negative_prompt)
    if request.call == CANARY_CALL:
        note_routine()


def require_shape(name: str, array: RawArray, shape: Sequence[int | None]) -> None:
    """Hold an earlier stage's tensor against its shape (None = any), lest a client that calls a stage hands in another.

    Raises:
        InvalidField: the shape differs.
    """
    if len(array.shape) != len(shape) or any(
        want not in (None, got) for got, want in zip(array.shape, shape, strict=True)
    ):
        raise InvalidField(name, "not what the stage before it gives", "calls of the model `vico`")


def report_of(inputs: RawFields, stage: str) -> StageReport:
    """The report of an earlier stage."""
    return StageReport.from_json(_text(inputs[f"{stage}_report"]))


def _text(array: npt.NDArray[Any]) -> str:
    text: str = array[0].decode()
    return text
