"""The canary: real requests, as small as they come, through every stage. What they say is what readiness means."""

from __future__ import annotations

import json
import logging
import math
import struct
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from functools import partial

import grpc
from tritonclient.grpc import service_pb2 as pb

from serving.caller import CANARY_CALL, TENSOR, Caller
from serving.front.answer import stream_error
from serving.front.refusal import is_answer
from serving.front.upstream import control_request
from serving.front.wire import SERVICE, STREAM_MODEL
from serving.private import Private
from serving.seal import Seal
from serving.stages.names import CONTROL, LOOP_REPORT, NESTED

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
    """One request at a time, the plain and the streamed one in turn; never waits.

    What no canary has come through with is still no proof of illness: a loop that runs its graph is busy.

    Args:
        private: the way to Triton.
        seal: of the server.
        side: of its picture, in pixels: the smallest that the graphs take.
        patience_seconds: for an answer; and for a loop that refuses, or does not answer, and whose graph does not run.
        clock: seconds on a clock that does not jump.
    """

    def __init__(
        self,
        private: Private,
        seal: Seal,
        side: int,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._private = private
        self._seal = seal
        self._patience = patience_seconds
        self._clock = clock
        self._channel = grpc.insecure_channel(private.address, options=_OPTIONS)
        self._infer = self._channel.unary_unary(SERVICE + "ModelInfer")
        self._stream = self._channel.stream_stream(SERVICE + "ModelStreamInfer")
        message = partial(_request, seal=seal, side=side, patience_seconds=patience_seconds)
        self._ways = deque([partial(self._ask, message("vico")), partial(self._ask_stream, message(STREAM_MODEL))])
        # a stream goes on only while somebody reads it
        self._asker = ThreadPoolExecutor(1, "canary")
        self._asked: Future[grpc.RpcError | None] | None = None
        self._runs = 0
        self._began = self._ran_at = -math.inf

    def close(self) -> None:
        """Give up what is under way."""
        self._channel.close()
        self._asker.shutdown(wait=False, cancel_futures=True)

    def look(self) -> Verdict:
        """Send one if none is under way; else what became of it."""
        if self._asked is None:
            self._look_at_the_loop()
            self._began = self._clock()
            self._asked = self._asker.submit(self._ways[0])
        if not self._asked.done():
            return Verdict.WAITING
        asked, self._asked = self._asked, None
        error = asked.result()
        if error is None:
            # a way on which it did not come through is gone again
            self._ways.rotate()
            return Verdict.WELL
        if self._is_excused(error):
            return Verdict.WELL
        logger.warning("the canary did not come through: %s %s", error.code(), error.details())
        return Verdict.ILL

    def _is_excused(self, error: grpc.RpcError) -> bool:
        """Whether the loop was at work instead: a full queue refuses, and a long one takes longer than the patience.

        A loop that hangs has a full queue for ever.
        """
        self._look_at_the_loop()
        if not is_answer(error):
            return self._ran_at > self._began
        return error.code() is not grpc.StatusCode.INTERNAL and self._clock() - self._ran_at < self._patience

    def passes(self, seconds: float) -> bool:
        """Whether one of each kind comes through in time; waits for them."""
        end = self._clock() + seconds
        return all(self._one_passes(end) for _ in self._ways.copy())

    def _one_passes(self, end: float) -> bool:
        while (verdict := self.look()) is Verdict.WAITING or (verdict is Verdict.ILL and self._clock() < end):
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

    def _ask(self, message: bytes) -> grpc.RpcError | None:
        """The answer does not matter, but why there is none does."""
        try:
            self._infer(message, timeout=self._patience, metadata=self._private.metadata)
        except grpc.RpcError as error:
            return error
        return None

    def _ask_stream(self, message: bytes) -> grpc.RpcError | None:
        answers = self._stream(iter([message]), timeout=self._patience, metadata=self._private.metadata)
        try:
            # all of them: Triton bears it badly when a stream is broken off after an error
            failed = [stream_error(answer) for answer in answers]
        except grpc.RpcError as error:
            return error
        return next((error for error in failed if error is not None), None)

    def _look_at_the_loop(self) -> None:
        """Note whether its graph has run since the last time, or runs now."""
        try:
            response = pb.ModelInferResponse.FromString(self._say({}))
        except grpc.RpcError:
            return
        [place] = [i for i, tensor in enumerate(response.outputs) if tensor.name == LOOP_REPORT]
        told = json.loads(response.raw_output_contents[place][4:])
        if told["runs"] != self._runs or told["in_a_step"]:
            self._runs, self._ran_at = told["runs"], self._clock()


def _request(model: str, seal: Seal, side: int, patience_seconds: float) -> bytes:
    request = pb.ModelInferRequest(model_name=model, id=CALLER.call)
    request.parameters["timeout"].int64_param = int(patience_seconds * 1e6)
    numbers = {"steps": 1, "height": side, "width": side, "priority": _PRIORITY}
    texts = {TENSOR: CALLER.sealed(seal), "prompt": b"a", "output_format": b"raw"}
    for name, value in texts.items():
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(struct.pack("<I", len(value)) + value)
    if model == STREAM_MODEL:
        request.parameters[NESTED].bool_param = True
    for name, number in numbers.items():
        request.inputs.add(name=name, datatype="INT32", shape=[1])
        request.raw_input_contents.append(struct.pack("<i", number))
    message: bytes = request.SerializeToString()
    return message
