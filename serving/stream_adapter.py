"""Triton's Python backend ↔ the stage of the streams: many responses to one request, and calls of other stages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any

import numpy as np

from serving.config import ServingConfig
from serving.errors import Overloaded, Relayed, ServingError, ShuttingDown
from serving.fields import RawArray, RawFields
from serving.stages.names import DECODER, LOOP, NESTED
from serving.stages.picture_stream import CallStage, PictureStreamStage
from serving.streaming.bounds import MAX_STREAMS
from serving.telemetry.notes import here
from serving.telemetry.stage import Handling, StageTelemetry
from serving.telemetry.traces import TRACEPARENT
from serving.triton_adapter import PbUtils, Responses, open_stage

logger = logging.getLogger("vico.serving")

OpenStreams = Callable[[ServingConfig, CallStage, CallStage], PictureStreamStage]


class StreamAdapter:
    """The stage of the streams as a decoupled Triton model.

    Args:
        pb_utils: the stub's module.
        stage: what to run.
        telemetry: as in `TritonAdapter`.
        max_streams: at once; more are refused.
    """

    def __init__(
        self,
        pb_utils: PbUtils,
        stage: PictureStreamStage,
        telemetry: StageTelemetry | None = None,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        self._pb = pb_utils
        self._stage = stage
        self._responses = Responses(pb_utils, telemetry or StageTelemetry(stage.name))
        self._room = BoundedSemaphore(max_streams)
        self._max_streams = max_streams
        self._threads = ThreadPoolExecutor(max_streams, "stream")

    @staticmethod
    def open(pb_utils: PbUtils, opener: OpenStreams) -> StreamAdapter:
        """Open the stage in a fresh serving process.

        Raises:
            TritonModelException: it cannot be opened; the launcher shows the text.
        """
        loop, decoder = StageCall(pb_utils, LOOP), StageCall(pb_utils, DECODER)
        return StreamAdapter(pb_utils, *open_stage(pb_utils, lambda config: opener(config, loop, decoder)))

    def begin(self, requests: Sequence[Any]) -> None:
        """Begin every request and return. Never raises; every stream is ended exactly once."""
        for request in requests:
            sender = request.get_response_sender()
            handling = self._responses.begin(request)
            try:
                # copies: Triton may take the request's memory back
                inputs = {tensor.name(): np.array(tensor.as_numpy()) for tensor in request.inputs()}
                self._start(handling, inputs, sender)
            except Exception as error:  # noqa: BLE001 - it is this request's alone
                self._end(sender, self._responses.failure(handling, error))

    def close(self) -> None:
        """End what was begun."""
        self._threads.shutdown()
        self._stage.close()

    def _start(self, handling: Handling, inputs: RawFields, sender: Any) -> None:
        if not self._room.acquire(blocking=False):
            raise Overloaded("request", f"{self._max_streams} streams are under way", "the same request later")
        try:
            self._threads.submit(self._run, handling, inputs, sender)
        except RuntimeError:
            self._room.release()
            raise ShuttingDown("request", "the server is shutting down", "the same request later") from None

    def _run(self, handling: Handling, inputs: RawFields, sender: Any) -> None:
        try:
            with handling.running():
                self._stage.run(inputs, _TritonClient(sender, self._responses))
        except Exception as error:  # noqa: BLE001 - as in `Responses.of`
            self._end(sender, self._responses.failure(handling, error))
        else:
            handling.end(None)
            self._end(sender, None)
        finally:
            self._room.release()

    def _end(self, sender: Any, response: Any) -> None:
        final = self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        try:
            if response is None:
                sender.send(flags=final)
            else:
                sender.send(response, flags=final)
        except Exception:
            logger.exception("a stream could not be ended")


class _TritonClient:
    """See `serving.stages.picture_stream.Client`."""

    def __init__(self, sender: Any, responses: Responses) -> None:
        self._sender = sender
        self._responses = responses

    def send(self, outputs: Mapping[str, RawArray]) -> None:
        self._sender.send(self._responses.success(outputs))

    @property
    def gone(self) -> bool:
        return bool(self._sender.is_cancelled())


class StageCall:
    """Another of our models, through Triton; see `serving.stages.picture_stream.CallStage`.

    Args:
        pb_utils: the stub's module.
        stage: the model's name.
    """

    def __init__(self, pb_utils: PbUtils, stage: str) -> None:
        self._pb = pb_utils
        self._stage = stage

    def __call__(self, inputs: Mapping[str, RawArray], outputs: Sequence[str]) -> dict[str, RawArray]:
        """Wait for its answer.

        Raises:
            Relayed: its refusal.
            StageLost: its process died, or it failed.
        """
        notes = here()
        trace = {TRACEPARENT: notes.traceparent} if notes and notes.traceparent else {}
        request = self._pb.InferenceRequest(
            model_name=self._stage,
            request_id=notes.request_id if notes else "",
            inputs=[self._pb.Tensor(name, array) for name, array in inputs.items()],
            requested_output_names=list(outputs),
            parameters={NESTED: True} | trace,
        )
        response = request.exec()
        if response.has_error():
            message = response.error().message()
            raise Relayed.from_message(message) or StageLost(self._stage, message)
        return {tensor.name(): np.array(tensor.as_numpy()) for tensor in response.output_tensors()}


class StageLost(ServingError):  # noqa: N818 - as its siblings in serving.errors
    """A stage failed, or is no more."""
