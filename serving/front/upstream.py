"""The way from the front door to Triton: a channel, the calls under way, and word to the loop of those given up."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from serving.front.answer import stream_error
from serving.front.refusal import is_answer, unavailable
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


@dataclass(eq=False)
class _Flight:
    """A call under way."""

    rpc: Any
    streaming: bool = False
    lost: bool = False
    """A stage that it needs died: nobody will answer it."""


class Upstream:
    """Triton, as the front door sees it. Used from one event loop."""

    def __init__(self, private: Private, seal: Seal) -> None:
        self._private = private
        self._seal = seal.of(CONTROL)
        self._channel: Any = None
        self._flights: set[_Flight] = set()
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
        for flight in self._flights:
            if flight.streaming or not streams_only:
                flight.lost = True
                flight.rpc.cancel()

    async def infer(self, message: bytes, call: str, seconds: float | None, metadata: Metadata) -> bytes:
        """Triton's answer to a clean `ModelInferRequest`.

        Raises:
            grpc.RpcError: Triton's refusal.
            Refused: the call was dropped.
            CancelledError: the client went away; the loop has been told.
        """
        rpc = self._channel.unary_unary(SERVICE + "ModelInfer")(
            message, timeout=seconds, metadata=self._private.metadata + metadata
        )
        async with _Watched(self, rpc, call):
            answer: bytes = await rpc
            return answer

    async def stream(
        self, message: bytes, call: str, seconds: float | None, metadata: Metadata
    ) -> AsyncGenerator[bytes, None]:
        """As `infer`, all `ModelStreamInferResponse`s to one request."""
        rpc = self._channel.stream_stream(SERVICE + "ModelStreamInfer")(
            timeout=seconds, metadata=(*self._private.metadata, *metadata)
        )
        async with _Watched(self, rpc, call, streaming=True):
            await rpc.write(message)
            await rpc.done_writing()
            failed: grpc.RpcError | None = None
            # to its end, also after an error: Triton bears it badly when a stream is broken off just then
            async for answer in rpc:
                failed = failed or stream_error(answer)
                if failed is None:
                    yield answer
            if failed is not None:
                raise failed

    def begin(self, rpc: Any, streaming: bool) -> _Flight:
        """Count a call in."""
        flight = _Flight(rpc, streaming)
        self._flights.add(flight)
        return flight

    def end(self, flight: _Flight) -> None:
        """Count a call out."""
        self._flights.discard(flight)

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


class _Watched:
    """A call under way: if it ends without an answer, the loop is told."""

    def __init__(self, upstream: Upstream, rpc: Any, call: str, *, streaming: bool = False) -> None:
        self._upstream = upstream
        self._call = call
        self._flight = upstream.begin(rpc, streaming)

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._upstream.end(self._flight)
        if error is None or (isinstance(error, grpc.RpcError) and is_answer(error)):
            return
        self._flight.rpc.cancel()
        self._upstream.give_up(self._call)
        if self._flight.lost:
            raise unavailable("a part of the server that it needed has died") from None


def control_request(seal: Seal, content: dict[str, str]) -> bytes:
    """`ModelInferRequest` that says something to the loop; `seal` is of the purpose `CONTROL`."""
    sealed = seal.close(json.dumps(content))
    request = pb.ModelInferRequest(model_name=LOOP)
    request.inputs.add(name=CONTROL, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(len(sealed).to_bytes(4, "little") + sealed)
    request.outputs.add(name=LOOP_REPORT)
    message: bytes = request.SerializeToString()
    return message
