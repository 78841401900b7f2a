"""A Triton that answers what it is told to, on a private socket; and a front door before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb

from serving.front.config import FrontConfig
from serving.front.door import Door
from serving.front.visit import FrontTelemetry
from serving.front.wire import SERVICE
from serving.private import Private
from serving.seal import Seal

SEAL = Seal("sealing")
INPUTS = {"caller": "BYTES", "prompt": "BYTES", "concept": "BYTES", "seed": "INT64", "steps": "INT32",
          "guidance_scale": "FP32", "reference_image": "BYTES"}  # fmt: skip

Infer = Callable[[Any, Any], Awaitable[Any]]


async def answers_at_once(request: Any, _context: Any) -> Any:
    """The request's id, and the outputs that it names."""
    return answer_to(request)


def answer_to(request: Any, outputs: Sequence[str] = ("images", "info")) -> Any:
    """A `ModelInferResponse` with the outputs that are asked for, else with all of them; they are empty."""
    answer = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
    for name in [output.name for output in request.outputs] or outputs:
        answer.outputs.add(name=name, datatype="BYTES", shape=[0])
        answer.raw_output_contents.append(b"")
    return answer


class FakeTriton(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Refuses whoever does not know the secret, as Triton's restricted protocols do; remembers what it was sent."""

    def __init__(self, private: Private, infer: Infer) -> None:
        self.private = private
        self.infer = infer
        self.seen: list[Any] = []
        self.headers: list[dict[str, Any]] = []
        self.stream_error = ""
        """What a stream ends with."""
        self.told: list[str] = []
        """Sealed words to the loop."""

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.removeprefix(SERVICE)
        headers = dict(handler_call_details.invocation_metadata)
        if not dict(self.private.metadata).items() <= headers.items():
            return None
        self.headers.append(headers)
        if method == "ModelMetadata":
            return grpc.unary_unary_rpc_method_handler(self._metadata)
        if method == "ModelConfig":
            return grpc.unary_unary_rpc_method_handler(self._config)
        if method == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._infer)

    async def _metadata(self, message: bytes, context: Any) -> bytes:
        name = pb.ModelMetadataRequest.FromString(message).name
        if name != "vico":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        answer = pb.ModelMetadataResponse(name=name, versions=["1"], platform="ensemble")
        for tensor, datatype in INPUTS.items():
            answer.inputs.add(name=tensor, datatype=datatype, shape=[1])
        for tensor in ("images", "info"):
            answer.outputs.add(name=tensor, datatype="BYTES", shape=[-1])
        content: bytes = answer.SerializeToString()
        return content

    async def _config(self, message: bytes, _context: Any) -> bytes:
        name = pb.ModelConfigRequest.FromString(message).name
        config = model_config_pb2.ModelConfig(name=name, platform="ensemble")
        for tensor in INPUTS:
            config.input.add(name=tensor, data_type=model_config_pb2.TYPE_STRING, dims=[1], optional=True)
        config.ensemble_scheduling.step.add(model_name="unet_loop")
        content: bytes = pb.ModelConfigResponse(config=config).SerializeToString()
        return content

    async def _infer(self, message: bytes, context: Any) -> bytes:
        request = pb.ModelInferRequest.FromString(message)
        if request.model_name == "unet_loop":
            self.told.append(SEAL.of("control").open(request.raw_input_contents[0][4:]))
            return b""
        self.seen.append(request)
        content: bytes = (await self.infer(request, context)).SerializeToString()
        return content

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            request = pb.ModelInferRequest.FromString(message)
            self.seen.append(request)
            for _ in range(2):
                answer = await self.infer(request, context)
                yield pb.ModelStreamInferResponse(infer_response=answer).SerializeToString()
            if self.stream_error:
                yield pb.ModelStreamInferResponse(error_message=self.stream_error).SerializeToString()


@asynccontextmanager
async def served(
    folder: Path, infer: Infer = answers_at_once, telemetry: FrontTelemetry | None = None, **options: Any
) -> AsyncIterator[tuple[Door, FakeTriton, str]]:
    """Door, what is behind it, and its address."""
    private = Private(str(folder / "s"), "secret-of-the-door")
    triton = FakeTriton(private, infer)
    behind = grpc.aio.server(handlers=[triton])
    behind.add_insecure_port(private.address)
    await behind.start()
    door = Door(FrontConfig(private, SEAL.secret, **options), telemetry)
    port = await door.start()
    await door.open()
    try:
        yield door, triton, f"127.0.0.1:{port}"
    finally:
        await door.drain(0.0)
        await behind.stop(None)


def request_of(**inputs: bytes) -> Any:
    """A `ModelInferRequest` of the model `vico` with these raw contents, of the right types and shapes."""
    request = pb.ModelInferRequest(model_name="vico", id="given-id")
    for name, content in inputs.items():
        request.inputs.add(name=name, datatype=INPUTS.get(name, "BYTES"), shape=[1])
        request.raw_input_contents.append(content)
    return request


def text(value: bytes) -> bytes:
    """One BYTES element."""
    return len(value).to_bytes(4, "little") + value


async def call(address: str, message: bytes, method: str = "ModelInfer", **options: Any) -> bytes:
    """One call on a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        path = method if method.startswith("/") else SERVICE + method
        answer: bytes = await channel.unary_unary(path)(message, timeout=options.pop("timeout", 60), **options)
        return answer


async def refusal(address: str, message: bytes, method: str = "ModelInfer", **options: Any) -> tuple[str, str]:
    """Status and details of a call that must fail."""
    try:
        answer = await call(address, message, method, **options)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details()
    raise AssertionError(f"was not refused: {answer!r}")


def run(work: Any) -> Any:
    """Run a coroutine, with an end."""
    return asyncio.run(asyncio.wait_for(work, 120))
