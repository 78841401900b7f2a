"""The canary: a real request, as small as they come, through every stage. What it says is what readiness means."""

from __future__ import annotations

import json
import logging
import struct
import time
from enum import Enum
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from serving.caller import CANARY_CALL, TENSOR, Caller
from serving.front.refusal import is_answer
from serving.front.upstream import control_request
from serving.front.wire import PUBLIC_MODELS, SERVICE
from serving.private import Private
from serving.seal import Seal
from serving.stages.names import CONTROL, LOOP_REPORT

logger = logging.getLogger("vico.serving")

CALLER = Caller("canary", "canary", (), CANARY_CALL)
_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
_ASK_SECONDS = 2.0
_PRIORITY = 9
"""The highest of the wire: it costs nobody more than one small step."""


class Verdict(Enum):
    """What a canary found."""

    WAITING = "waiting"
    WELL = "well"
    ILL = "ill"


class Canary:
    """One request at a time; never waits.

    Args:
        private: the way to Triton.
        seal: of the server.
        side: of its picture, in pixels: the smallest that the graphs take.
        patience_seconds: for an answer. When it passes, a loop that took steps meanwhile is busy, not ill.
    """

    def __init__(self, private: Private, seal: Seal, side: int, patience_seconds: float) -> None:
        self._private = private
        self._seal = seal
        self._patience = patience_seconds
        self._channel = grpc.insecure_channel(private.address, options=_OPTIONS)
        self._infer = self._channel.unary_unary(SERVICE + "ModelInfer")
        self._message = _request(seal, side, patience_seconds)
        self._call: Any = None
        self._began_steps: int | None = None

    def close(self) -> None:
        """Give up what is under way."""
        self._channel.close()

    def look(self) -> Verdict:
        """Send one if none is under way; else what became of it."""
        if self._call is None:
            self._began_steps = self._steps()
            self._call = self._infer.future(self._message, timeout=self._patience, metadata=self._private.metadata)
        if not self._call.done():
            return Verdict.WAITING
        call, self._call = self._call, None
        error = call.exception()
        if error is None:
            return Verdict.WELL
        if is_answer(error) and error.code() is not grpc.StatusCode.INTERNAL:
            # a refusal in a stage's own words, for instance of a full queue, is a sign of life
            return Verdict.WELL
        steps = self._steps()
        if steps is not None and self._began_steps is not None and steps > self._began_steps:
            return Verdict.WELL
        logger.warning("the canary did not come through: %s %s", error.code(), error.details())
        return Verdict.ILL

    def passes(self, seconds: float) -> bool:
        """Whether one comes through in time; waits for it."""
        end = time.monotonic() + seconds
        while (verdict := self.look()) is Verdict.WAITING or (verdict is Verdict.ILL and time.monotonic() < end):
            time.sleep(0.05)
        return verdict is Verdict.WELL

    def cancel_all(self) -> None:
        """Free the lanes of everybody: the front door died, and their connections with it."""
        try:
            self._say({"all": "cancelled"})
        except grpc.RpcError as error:
            logger.warning("the loop could not be told to cancel: %s", error.code())

    def _say(self, content: dict[str, str]) -> bytes:
        request = control_request(self._seal.of(CONTROL), content)
        answer: bytes = self._infer(request, timeout=_ASK_SECONDS, metadata=self._private.metadata)
        return answer

    def _steps(self) -> int | None:
        """Steps that the loop has taken so far; None = it does not say."""
        try:
            response = pb.ModelInferResponse.FromString(self._say({}))
        except grpc.RpcError:
            return None
        [place] = [i for i, tensor in enumerate(response.outputs) if tensor.name == LOOP_REPORT]
        steps: int = json.loads(response.raw_output_contents[place][4:])["steps"]
        return steps


def _request(seal: Seal, side: int, patience_seconds: float) -> bytes:
    request = pb.ModelInferRequest(model_name=PUBLIC_MODELS[0], id=CALLER.call)
    request.parameters["timeout"].int64_param = int(patience_seconds * 1e6)
    numbers = {"steps": 1, "height": side, "width": side, "priority": _PRIORITY}
    texts = {TENSOR: CALLER.sealed(seal), "prompt": b"a", "output_format": b"raw"}
    for name, value in texts.items():
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(struct.pack("<I", len(value)) + value)
    for name, number in numbers.items():
        request.inputs.add(name=name, datatype="INT32", shape=[1])
        request.raw_input_contents.append(struct.pack("<i", number))
    message: bytes = request.SerializeToString()
    return message
