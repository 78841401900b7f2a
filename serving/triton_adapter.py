"""Triton's Python backend ↔ a stage: tensors in, tensors out, and every failure kept to its own request."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.errors import Status, WireError, internal, status_of, to_wire
from serving.fields import RawArray
from serving.stages.stage import Stage
from vico.errors import VicoError

logger = logging.getLogger("vico.serving")

NESTED = "nested"
"""Request parameter of a call by another of our models."""

S = TypeVar("S")
PbUtils = Any
"""The module `triton_python_backend_utils`, which exists only inside Triton's stub."""


class Responses:
    """What Triton is answered.

    Args:
        pb_utils: the stub's module.
        name: of the stage, for the log.
    """

    def __init__(self, pb_utils: PbUtils, name: str) -> None:
        self._pb = pb_utils
        self._name = name

    def of(self, request: Any, work: Callable[[], Mapping[str, RawArray]]) -> Any:
        """The response with what `work` returns or raises."""
        try:
            return self.success(work())
        except Exception as error:  # noqa: BLE001 - the last line of defence: else Triton sends clients the traceback
            return self.failure(request, error)

    def success(self, outputs: Mapping[str, RawArray]) -> Any:
        """The response with these tensors."""
        tensors = [self._pb.Tensor(name, array) for name, array in outputs.items()]
        return self._pb.InferenceResponse(output_tensors=tensors)

    def failure(self, request: Any, error: Exception) -> Any:
        """The response that tells why there are no pictures."""
        if isinstance(error, VicoError) and status_of(error) is not Status.INTERNAL:
            return self._refusal(to_wire(error, always_tagged=NESTED in json.loads(request.parameters() or "{}")))
        # our own mistake: the log has the traceback, the client a number to quote
        request_id = request.request_id()[:64] or secrets.token_hex(8)
        logger.error("stage %s failed, request %r", self._name, request_id, exc_info=error)
        return self._refusal(internal(request_id))

    def _refusal(self, error: WireError) -> Any:
        code = getattr(self._pb.TritonError, error.code)
        return self._pb.InferenceResponse(error=self._pb.TritonError(error.message, code))


class TritonAdapter:
    """One stage as a Triton model.

    Args:
        pb_utils: the stub's module.
        stage: what to run.
    """

    def __init__(self, pb_utils: PbUtils, stage: Stage) -> None:
        self._responses = Responses(pb_utils, stage.name)
        self._stage = stage

    @staticmethod
    def open(pb_utils: PbUtils, opener: Callable[[ServingConfig], Stage]) -> TritonAdapter:
        """Open the stage in a fresh serving process.

        Raises:
            TritonModelException: it cannot be opened; the launcher shows the text.
        """
        return TritonAdapter(pb_utils, open_stage(pb_utils, opener))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for every request, in order. Never raises: one bad request must not fail its batch-mates."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        return self._responses.of(request, lambda: self._stage(_inputs(request), Deadline.after(request.timeout())))


def open_stage(pb_utils: PbUtils, opener: Callable[[ServingConfig], S]) -> S:
    """Open a stage in a fresh serving process.

    Raises:
        TritonModelException: it cannot be opened; the launcher shows the text.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    try:
        return opener(ServingConfig.from_env())
    except VicoError as error:
        raise pb_utils.TritonModelException(str(error)) from error


def _inputs(request: Any) -> dict[str, RawArray]:
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
