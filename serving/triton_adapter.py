"""Triton's Python backend ↔ a stage: tensors in, tensors out, and every failure kept to its own request."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.errors import Status, WireError, internal, status_of, to_wire
from serving.stages.stage import Stage
from vico.errors import VicoError

logger = logging.getLogger("vico.serving")

PbUtils = Any
"""The module `triton_python_backend_utils`, which exists only inside Triton's stub."""


class TritonAdapter:
    """One stage as a Triton model.

    Args:
        pb_utils: the stub's module.
        stage: what to run.
    """

    def __init__(self, pb_utils: PbUtils, stage: Stage) -> None:
        self._pb = pb_utils
        self._stage = stage

    @staticmethod
    def open(pb_utils: PbUtils, opener: Callable[[ServingConfig], Stage]) -> TritonAdapter:
        """Open the stage in a fresh serving process.

        Raises:
            TritonModelException: it cannot be opened; the launcher shows the text.
        """
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
        try:
            return TritonAdapter(pb_utils, opener(ServingConfig.from_env()))
        except VicoError as error:
            raise pb_utils.TritonModelException(str(error)) from error

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for every request, in order. Never raises: one bad request must not fail its batch-mates."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            outputs = self._stage(inputs, Deadline.after(request.timeout()))
            tensors = [self._pb.Tensor(name, array) for name, array in outputs.items()]
            return self._pb.InferenceResponse(output_tensors=tensors)
        except VicoError as error:
            if status_of(error) is Status.INTERNAL:
                return self._fault(request)
            return self._refusal(to_wire(error))
        except Exception:  # noqa: BLE001 - the last line of defence: else Triton sends clients the traceback
            return self._fault(request)

    def _fault(self, request: Any) -> Any:
        """Our own mistake: the log has the traceback, the client a number to quote."""
        request_id = request.request_id()[:64] or secrets.token_hex(8)
        logger.exception("stage %s failed, request %r", self._stage.name, request_id)
        return self._refusal(internal(request_id))

    def _refusal(self, error: WireError) -> Any:
        code = getattr(self._pb.TritonError, error.code)
        return self._pb.InferenceResponse(error=self._pb.TritonError(error.message, code))
