"""The front door: a gRPC server that lets through what is allowed, to whom it is allowed, as long as there is room."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from importlib.metadata import version
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from serving.caller import Caller
from serving.errors import LaunchError, internal
from serving.foresight.asking import Foresight
from serving.front.answer import require_whole
from serving.front.check import clean, parse, request_id, require_public
from serving.front.config import FrontConfig, Limits
from serving.front.gate import Gate
from serving.front.health import Health
from serving.front.identity import identify, sharer
from serving.front.in_time import require_time
from serving.front.keys import Key, KeyFile
from serving.front.latest import latest
from serving.front.message import only
from serving.front.refusal import Refused, invalid, translated
from serving.front.server_options import server_options
from serving.front.tls import server_credentials
from serving.front.upstream import Metadata, Upstream
from serving.front.visit import FrontTelemetry, Visit
from serving.front.wire import HEALTH, PUBLIC_MODELS, SERVER_NAME, SERVICE, STREAM_MODEL, TIMED_MODELS, ModelSpec
from serving.seal import Seal
from serving.telemetry.traces import NO_TRACES, TRACEPARENT

logger = logging.getLogger("vico.front")

_TRACE_FORMS = {
    "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    "tracestate": re.compile(r"[a-z0-9_@/*=,;:.+-]{1,512}", re.IGNORECASE),
}
_SEND_SECONDS = 10.0
"""For the last answers to arrive."""
_YES = b"\x08\x01"
"""`{bool = 1}`: live, ready."""

Answer = Callable[[bytes, Any, Visit], Awaitable[bytes]]


class Door(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Everything a client can reach.

    Args:
        config: where to listen, where Triton is, who may come in.
        telemetry: takes what there is to tell; None = it is told to nobody.

    Raises:
        LaunchError: keys or certificates are absent or malformed.
    """

    def __init__(self, config: FrontConfig, telemetry: FrontTelemetry | None = None) -> None:
        self._config = config
        self._telemetry = telemetry or FrontTelemetry()
        self._seal = Seal(config.seal_secret)
        self._keys = KeyFile(config.keys_file) if config.keys_file else None
        self._server: Any = None
        self._foresight = Foresight(config.foresight)
        self.upstream = Upstream(config.private, self._seal)
        self.gate = Gate(config.limits)
        self.health = Health(config.limits)
        self._answers: dict[str, Answer] = {
            SERVICE + "ServerLive": self._live,
            SERVICE + "ServerReady": self._ready,
            SERVICE + "ServerMetadata": self._server_metadata,
            SERVICE + "ModelReady": self._model_ready,
            SERVICE + "ModelMetadata": self._model_metadata,
            SERVICE + "ModelConfig": self._model_config,
            SERVICE + "ModelInfer": self._infer,
        }

    async def start(self) -> int:
        """Listen; returns the port. Nothing is let in before `open`.

        Raises:
            LaunchError: the port is taken.
        """
        self._server = grpc.aio.server(
            handlers=[self],
            options=server_options(self._config.limits),
            # the gate and the health count for themselves, and say more than gRPC would; this holds if they cannot
            maximum_concurrent_rpcs=_calls_at_once(self._config.limits),
        )
        address = f"{self._config.host}:{self._config.port}"
        try:
            if self._config.tls:
                port: int = self._server.add_secure_port(address, server_credentials(self._config.tls))
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise LaunchError("grpc_port", f"{address} cannot be listened to", "a free port") from None
        await self._server.start()
        return port

    async def open(self) -> None:
        """Triton can serve: connect to it and let calls in."""
        await self.upstream.connect()
        self.gate.serving = self.health.serving = True

    def shut(self, drop: bool, drop_streams: bool = False) -> None:
        """Triton cannot serve for now: refuse what comes, in a way that can be retried; `drop` what is under way."""
        self.gate.serving = self.health.serving = False
        if drop or drop_streams:
            self.upstream.drop(streams_only=not drop)

    async def drain(self, grace_seconds: float) -> None:
        """Refuse what comes, wait for what is under way, drop what the grace does not suffice for; then stop."""
        end = asyncio.get_running_loop().time() + grace_seconds
        self.gate.closing, self.health.closing = True, True
        if not await self.gate.emptied(grace_seconds):
            logger.warning("%d calls under way are dropped: the grace has passed", self.gate.inside)
            self.upstream.drop()
            await self.gate.emptied(2.0)
        # answers may still be on their way to slow clients; a stream without a request ends with it
        left = end - asyncio.get_running_loop().time()
        await self._server.stop(min(max(left, 1.0), _SEND_SECONDS))
        await self.upstream.close()

    def service(self, handler_call_details: Any) -> Any:
        """Called by gRPC for every call, before its message is read."""
        method, metadata = handler_call_details.method, handler_call_details.invocation_metadata or ()
        if method == HEALTH + "Check":
            return grpc.stream_unary_rpc_method_handler(self.health.check)
        if method == HEALTH + "Watch":
            return grpc.stream_stream_rpc_method_handler(self.health.watch)
        if not method.startswith("/inference."):
            return None
        try:
            if method not in self._answers and method != SERVICE + "ModelStreamInfer":
                allowed = ", ".join(sorted(name.removeprefix(SERVICE) for name in self._answers))
                raise Refused(grpc.StatusCode.PERMISSION_DENIED, "method", "closed", allowed)
            key = identify(metadata, self._keys)
        except Refused as refused:
            self._telemetry.turned_away(refused.status)
            return _refusing(refused)
        if method in self._answers:
            answer = self._unary(self._answers[method], key, method.removeprefix(SERVICE))
            return grpc.stream_unary_rpc_method_handler(answer)
        return grpc.stream_stream_rpc_method_handler(self._stream(key))

    async def _live(self, _message: bytes, _context: Any, _visit: Visit) -> bytes:
        return _YES

    async def _ready(self, _message: bytes, _context: Any, _visit: Visit) -> bytes:
        return _YES if self.gate.open else b""

    async def _server_metadata(self, _message: bytes, _context: Any, _visit: Visit) -> bytes:
        answer: bytes = pb.ServerMetadataResponse(name=SERVER_NAME, version=version("vico")).SerializeToString()
        return answer

    async def _model_ready(self, message: bytes, _context: Any, _visit: Visit) -> bytes:
        self._asked(pb.ModelReadyRequest, message)
        return _YES if self.gate.open else b""

    async def _model_metadata(self, message: bytes, _context: Any, _visit: Visit) -> bytes:
        return self._asked(pb.ModelMetadataRequest, message).metadata

    async def _model_config(self, message: bytes, _context: Any, _visit: Visit) -> bytes:
        return self._asked(pb.ModelConfigRequest, message).config

    def _asked(self, kind: Any, message: bytes) -> ModelSpec:
        try:
            request = kind.FromString(message)
        except DecodeError:
            raise invalid("request", "not of its type", "Triton's protocol, version 2") from None
        return require_public(request.name, request.version, self._models)

    @property
    def _models(self) -> dict[str, ModelSpec]:
        """Before Triton has come up once, the first public model stands for all."""
        return self.upstream.models or {PUBLIC_MODELS[0]: ModelSpec({}, frozenset(), b"", b"")}

    async def _infer(self, message: bytes, context: Any, visit: Visit) -> bytes:
        with self.gate.call(visit.key):
            request = self._wanted(message, context, visit)
            passed_on = await self._passed_on(request, context, visit, unary=True)
            with visit.behind():
                answer = await self.upstream.infer(*passed_on)
            return require_whole(answer, {output.name for output in request.outputs})

    def _unary(self, answer: Answer, key: Key, method: str) -> Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]:
        async def serve(messages: AsyncIterator[bytes], context: Any) -> bytes:
            try:
                with self.gate.place(key):
                    message = await only(messages, self._config.limits.message_seconds)
                    return await self._answered(answer, message, context, key, method)
            except Refused as refused:
                self._telemetry.turned_away(refused.status)
                await context.abort(refused.status, refused.line)
                raise AssertionError("abort raises") from None

        return serve

    async def _answered(self, answer: Answer, message: bytes, context: Any, key: Key, method: str) -> bytes:
        with self._visit(key, method) as visit:
            try:
                content = await answer(message, context, visit)
            except Exception as error:
                await _abort(context, error, visit)
                raise AssertionError("abort raises") from error
            visit.status = grpc.StatusCode.OK
            return content

    def _visit(self, key: Key, method: str) -> AbstractContextManager[Visit]:
        """Questions about the server are not counted."""
        asks = method in ("ModelInfer", "ModelStreamInfer")
        return self._telemetry.visit(key, method) if asks else nullcontext(Visit(NO_TRACES, key, method))

    def _stream(self, key: Key) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        async def serve(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            """One request after the other: each has its own place, name and end."""
            try:
                with self.gate.place(key):
                    async for message in messages:
                        async with aclosing(self._streamed(message, context, key)) as answers:
                            async for answer in answers:
                                yield answer
            except Refused as refused:
                self._telemetry.turned_away(refused.status)
                await context.abort(refused.status, refused.line)

        return serve

    async def _streamed(self, message: bytes, context: Any, key: Key) -> AsyncGenerator[bytes, None]:
        """The answers to one request of a stream."""
        with self._visit(key, "ModelStreamInfer") as visit:
            try:
                # since the stream began the key may have been revoked, or its rights may have changed
                visit.comes_with(identify(context.invocation_metadata() or (), self._keys))
                with self.gate.call(visit.key):
                    request = self._wanted(message, context, visit)
                    answers = self.upstream.stream(*await self._passed_on(request, context, visit))
                    async with aclosing(latest(answers)) as current:
                        async for answer in current:
                            yield answer
                visit.status = grpc.StatusCode.OK
            except Exception as error:  # noqa: BLE001 - the last line of defence: gRPC would tell the client
                await _abort(context, error, visit)

    def _wanted(self, message: bytes, context: Any, visit: Visit) -> Any:
        """The `ModelInferRequest`, whose id is fit for logs from here on."""
        request = parse(message, self._models)
        request.id = request_id(request.id)
        headers = dict(_traces(context.invocation_metadata() or ()))
        visit.is_of(request.id, request.model_name, headers.get(TRACEPARENT, ""))
        return request

    async def _passed_on(
        self, request: Any, context: Any, visit: Visit, *, unary: bool = False
    ) -> tuple[bytes, str, float | None, Metadata]:
        """What goes on to Triton of a `ModelInferRequest`: message, the call's name, seconds, metadata.

        Raises:
            Refused: it is malformed, or cannot be done in time.
        """
        if unary and request.model_name == STREAM_MODEL:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, "method", "one answer to a stream", "ModelStreamInfer")
        call, seconds, key = secrets.token_hex(16), context.time_remaining(), visit.key
        metadata = context.invocation_metadata() or ()
        caller = Caller(sharer(metadata, key), key.tenant, key.concepts, call)
        left = max(1, int(seconds * 1e6)) if seconds is not None else 0
        spec = self._models[request.model_name]
        sealed, traceparent = caller.sealed(self._seal), visit.span.traceparent
        cleaned = clean(request, spec, sealed, min(left, 2**62), traceparent, streamed=not unary)
        if request.model_name in TIMED_MODELS:
            await require_time(self._foresight, cleaned, caller)
        return cleaned.SerializeToString(), call, seconds, _traces(metadata)


def _calls_at_once(limits: Limits) -> int:
    """For gRPC: room for those that are just being refused, too."""
    return 2 * (limits.calls + limits.probes)


async def _abort(context: Any, error: Exception, visit: Visit) -> None:
    visit.status, line = _answer_to(error, visit.request_id or request_id(""))
    await context.abort(visit.status, line)


def _answer_to(error: Exception, name: str) -> tuple[grpc.StatusCode, str]:
    """Status and line for the client."""
    if isinstance(error, Refused):
        return error.status, error.line
    if isinstance(error, grpc.RpcError):
        return translated(error, name)
    logger.error("request %r failed in the front door", name, exc_info=error, extra={"request_id": name})
    return grpc.StatusCode.INTERNAL, internal(name).message


def _refusing(refused: Refused) -> Any:
    """A handler that refuses without reading what the client has to say: a stream's messages wait until asked for."""

    async def refuse(_messages: AsyncIterator[bytes], context: Any) -> None:
        await context.abort(refused.status, refused.line)

    return grpc.stream_stream_rpc_method_handler(refuse)


def _traces(metadata: Any) -> Metadata:
    """The headers of a trace, if they are of their form; a client's other headers end here."""
    return tuple(
        (name, value)
        for name, value in metadata
        if name in _TRACE_FORMS and isinstance(value, str) and _TRACE_FORMS[name].fullmatch(value)
    )


async def run_until(door: Door, commands: AsyncIterator[dict[str, Any]], tell: Callable[[str], None]) -> None:
    """Do what the supervisor says until it says `drain`, or nothing any more."""
    async for command in commands:
        if "drain" in command:
            await door.drain(float(command["drain"]))
            return
        if "sign" in command:
            tell("here")
        elif command["serving"]:
            try:
                await door.open()
            except (TimeoutError, grpc.RpcError) as error:
                logger.error("the front door cannot reach Triton: %s", error)
                tell("failed")
            else:
                tell("serving")
        else:
            door.shut(bool(command["drop"]), bool(command["drop_streams"]))
    await door.drain(0.0)
