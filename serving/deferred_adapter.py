"""Triton's Python backend ↔ a stage that answers later: requests are handed over at once, answered when done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.stages.stage import DeferredStage, Pending
from serving.telemetry.stage import Handling, StageTelemetry
from serving.triton_adapter import PbUtils, TritonAdapter, open_stage

logger = logging.getLogger("vico.serving")


class DeferredAdapter(TritonAdapter):
    """One deferred stage as a Triton model. The model stays unary: one response for every request, from another thread.

    Args:
        pb_utils: the stub's module.
        stage: what to run.
        telemetry: as in `TritonAdapter`.
    """

    def __init__(self, pb_utils: PbUtils, stage: DeferredStage, telemetry: StageTelemetry | None = None) -> None:
        super().__init__(pb_utils, stage, telemetry)
        self._pb = pb_utils
        self._deferred = stage
        # sending waits for Triton: never in the thread of the stage
        self._sending = ThreadPoolExecutor(1, "responses")

    @staticmethod
    def open_deferred(pb_utils: PbUtils, opener: Callable[[ServingConfig], DeferredStage]) -> DeferredAdapter:
        """Open the stage in a fresh serving process.

        Raises:
            TritonModelException: it cannot be opened; the launcher shows the text.
        """
        return DeferredAdapter(pb_utils, *open_stage(pb_utils, opener))

    def begin(self, requests: Sequence[Any]) -> None:
        """Hand the requests over and return. Never raises; every request is answered exactly once."""
        for request in requests:
            self._begin(request)

    def close(self) -> None:
        """Answer what was begun."""
        self._deferred.close()
        self._sending.shutdown()

    def _begin(self, request: Any) -> None:
        sender = request.get_response_sender()
        handling = self._responses.begin(request)
        try:
            # copies: Triton may take the request's memory back
            inputs = {tensor.name(): np.array(tensor.as_numpy()) for tensor in request.inputs()}
            with handling.running():
                pending = self._deferred.begin(inputs, Deadline.after(request.timeout()))
        except Exception as error:  # noqa: BLE001 - it is this request's alone
            self._send(sender, self._responses.failure(handling, error))
        else:
            pending.future.add_done_callback(lambda _: self._sending.submit(self._finish, handling, sender, pending))

    def _finish(self, handling: Handling, sender: Any, pending: Pending) -> None:
        self._send(sender, self._responses.of(handling, pending.outputs))

    def _send(self, sender: Any, response: Any) -> None:
        try:
            sender.send(response, flags=self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception:
            logger.exception("stage %s: an answer could not be sent", self._stage.name)
