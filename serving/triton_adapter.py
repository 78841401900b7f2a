"""Triton's Python backend ↔ a stage: tensors in, tensors out, and every failure kept to its own request."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.errors import Status, WireError, internal, status_of, to_wire
from serving.fields import RawArray
from serving.priority import give_way
from serving.stages.names import DECODER, NESTED
from serving.stages.stage import Stage
from serving.telemetry.folder import reserve
from serving.telemetry.logs import configure_logs
from serving.telemetry.stage import Handling, StageTelemetry
from serving.telemetry.traces import open_traces
from vico.errors import VicoError

logger = logging.getLogger("vico.serving")


class Named(Protocol):
    """Any stage."""

    name: str


S = TypeVar("S", bound=Named)
PbUtils = Any
"""The module `triton_python_backend_utils`, which exists only inside Triton's stub."""


class Responses:
    """What Triton is answered, and what is told of it.

    Args:
        pb_utils: the stub's module.
        telemetry: of the stage.
    """

    def __init__(self, pb_utils: PbUtils, telemetry: StageTelemetry) -> None:
        self._pb = pb_utils
        self._telemetry = telemetry

    def begin(self, request: Any) -> Handling:
        """A request has come; it must be ended by `of`, `failure` or itself."""
        return self._telemetry.begin(request)

    def of(self, handling: Handling, work: Callable[[], Mapping[str, RawArray]]) -> Any:
        """The response with what `work` returns or raises."""
        with handling.running():
            try:
                response = self.success(work())
            except Exception as error:  # noqa: BLE001 - the last line of defence: else Triton sends clients the traceback
                return self.failure(handling, error)
            handling.end(None)
            return response

    def success(self, outputs: Mapping[str, RawArray]) -> Any:
        """The response with these tensors."""
        tensors = [self._pb.Tensor(name, array) for name, array in outputs.items()]
        return self._pb.InferenceResponse(output_tensors=tensors)

    def failure(self, handling: Handling, error: Exception) -> Any:
        """The response that tells why there are no pictures."""
        handling.end(error)
        if isinstance(error, VicoError) and status_of(error) is not Status.INTERNAL:
            return self._refusal(to_wire(error, always_tagged=NESTED in handling.parameters))
        # our own mistake: the log has the traceback, the client a number to quote
        request_id = handling.notes.request_id
        with handling.running():
            logger.error("stage %s failed, request %r", self._telemetry.stage, request_id, exc_info=error)
        return self._refusal(internal(request_id))

    def _refusal(self, error: WireError) -> Any:
        code = getattr(self._pb.TritonError, error.code)
        return self._pb.InferenceResponse(error=self._pb.TritonError(error.message, code))


class TritonAdapter:
    """One stage as a Triton model.

    Args:
        pb_utils: the stub's module.
        stage: what to run.
        telemetry: takes what there is to tell; None = it is told to nobody.
    """

    def __init__(self, pb_utils: PbUtils, stage: Stage, telemetry: StageTelemetry | None = None) -> None:
        self._responses = Responses(pb_utils, telemetry or StageTelemetry(stage.name))
        self._stage = stage

    @staticmethod
    def open(pb_utils: PbUtils, opener: Callable[[ServingConfig], Stage]) -> TritonAdapter:
        """Open the stage in a fresh serving process.

        Raises:
            TritonModelException: it cannot be opened; the launcher shows the text.
        """
        return TritonAdapter(pb_utils, *open_stage(pb_utils, opener))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for every request, in order. Never raises: one bad request must not fail its batch-mates."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        handling = self._responses.begin(request)

        def work() -> Mapping[str, RawArray]:
            inputs = _inputs(request)
            handling.reads(inputs)
            return self._stage(inputs, Deadline.after(request.timeout()))

        return self._responses.of(handling, work)


def open_stage(pb_utils: PbUtils, opener: Callable[[ServingConfig], S]) -> tuple[S, StageTelemetry]:
    """Open a stage in a fresh serving process.

    Raises:
        TritonModelException: it cannot be opened; the launcher shows the text.
    """
    try:
        config = ServingConfig.from_env()
        configure_logs(config.telemetry)
        stage = opener(config)
        if stage.name == DECODER and config.provider == "cpu":
            # whatever this process does is done to draw
            give_way()
        telemetry = StageTelemetry(stage.name, config.telemetry.log_prompts, open_traces())
        reserve()
        # all that is here stays: a collection would walk it with every step waiting
        gc.collect()
        gc.freeze()
        return stage, telemetry
    except VicoError as error:
        raise pb_utils.TritonModelException(str(error)) from error


def _inputs(request: Any) -> dict[str, RawArray]:
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
