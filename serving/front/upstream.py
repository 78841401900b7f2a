"""The way from the front door to Triton: a channel, the calls under way, and word to the loop of those given up."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from serving.front.flights import Flights
from serving.front.wire import PUBLIC_MODELS, SERVICE, ModelSpec, model_spec
from serving.private import Private
from serving.seal import Seal
from serving.stages.names import CONTROL, LOOP, LOOP_REPORT

logger = logging.getLogger("vico.front")

Metadata = tuple[tuple[str, str], ...]

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # Triton may be started again: the way to it is local, and trying costs nothing
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
_CONTROL_SECONDS = 10.0


class Upstream:
    """Triton, as the front door sees it. Used from one event loop."""

    def __init__(self, private: Private, seal: Seal) -> None:
        self._private = private
        self._seal = seal.of(CONTROL)
        self._channel: Any = None
        self._flights = Flights(self.give_up)
        self._words: set[asyncio.Task[None]] = set()
        self.models: dict[str, ModelSpec] = {}
        """The public ones that Triton has."""

    async def connect(self) -> None:
        """Wait for Triton and ask what it serves; calls under way on it go on.

        Raises:
            grpc.RpcError: it does not answer.
            TimeoutError: it does not listen.
        """
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._private.address, options=_OPTIONS)
        await asyncio.wait_for(self._channel.channel_ready(), _CONTROL_SECONDS)
        for name in PUBLIC_MODELS:
            try:
                metadata = await self._ask("ModelMetadata", pb.ModelMetadataRequest(name=name))
                config = await self._ask("ModelConfig", pb.ModelConfigRequest(name=name))
            except grpc.RpcError as error:
                if name == PUBLIC_MODELS[0]:
                    raise
                logger.info("model %s is not served: %s", name, error.code())
            else:
                self.models[name] = model_spec(metadata, config)

    async def _ask(self, method: str, question: Any) -> bytes:
        ask = self._channel.unary_unary(SERVICE + method)
        answer: bytes = await ask(
            question.SerializeToString(), timeout=_CONTROL_SECONDS, metadata=self._private.metadata
        )
        return answer

    async def close(self) -> None:
        """Give the channel up, when what there was to say has been said."""
        await asyncio.gather(*self._words)
        if self._channel is not None:
            await self._channel.close()

    def drop(self, streams_only: bool = False) -> None:
        """Tell everybody who waits, or who waits for a stream, that nobody will answer."""
        self._flights.drop(streams_only)

    async def infer(self, message: bytes, call: str, seconds: float | None, metadata: Metadata) -> bytes:
        """Triton's answer to a clean `ModelInferRequest`; raises as `Flights.unary`."""
        rpc = self._channel.unary_unary(SERVICE + "ModelInfer")(
            message, timeout=_last_resort(seconds), metadata=self._private.metadata + metadata
        )
        return await self._flights.unary(rpc, call)

    def stream(
        self, message: bytes, call: str, seconds: float | None, metadata: Metadata
    ) -> AsyncGenerator[bytes, None]:
        """As `infer`, all `ModelStreamInferResponse`s to one request."""
        rpc = self._channel.stream_stream(SERVICE + "ModelStreamInfer")(
            timeout=_last_resort(seconds), metadata=self._private.metadata + metadata
        )
        return self._flights.stream(rpc, message, call)

    def give_up(self, call: str) -> None:
        """Tell the loop, beside everything else, that nobody waits for a call any more."""
        task = asyncio.get_running_loop().create_task(self._tell({"cancel": call}))
        self._words.add(task)
        task.add_done_callback(self._words.discard)

    async def _tell(self, content: dict[str, str]) -> None:
        request = control_request(self._seal, content)
        try:
            ask = self._channel.unary_unary(SERVICE + "ModelInfer")
            await ask(request, timeout=_CONTROL_SECONDS, metadata=self._private.metadata)
        except grpc.RpcError as error:
            logger.warning("the loop could not be told %s: %s", content, error.code())


def _last_resort(seconds: float | None) -> float | None:
    """The client's deadline ends its call here, and the request's own in the stages: gRPC ends Triton's only later."""
    return None if seconds is None else seconds + _CONTROL_SECONDS


def control_request(seal: Seal, content: dict[str, str]) -> bytes:
    """`ModelInferRequest` that says something to the loop; `seal` is of the purpose `CONTROL`."""
    sealed = seal.close(json.dumps(content))
    request = pb.ModelInferRequest(model_name=LOOP)
    request.inputs.add(name=CONTROL, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(sealed).to_bytes(4, "little") + sealed)
    request.outputs.add(name=LOOP_REPORT)
    message: bytes = request.SerializeToString()
    return message
