"""The admin service: gRPC on loopback, apart from everything that clients reach, behind a secret of its own."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from serving.admin.commands import COMMANDS, run
from serving.admin.concepts import ConceptAdmin
from serving.admin.secret import matches
from serving.errors import LaunchError, Status, status_of
from vico.errors import VicoError

HOST = "127.0.0.1"
"""Loopback only, in clear: who administers from elsewhere comes through ssh or a port-forward."""
SERVICE = "vico.admin.Concepts"
MAX_MESSAGE_BYTES = 2**16
"""Of a request."""
THREADS = 4

logger = logging.getLogger("vico.serving")


class AdminService:
    """Serves `concepts.proto` until `close`; use it as a context manager.

    Args:
        admin: does what is asked.
        secret: every call must bring it, as `authorization: Bearer <secret>`.
        port: 0 = any free port.

    Raises:
        LaunchError: the port is taken.
    """

    def __init__(self, admin: ConceptAdmin, secret: str, port: int = 0) -> None:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(THREADS, "admin"), interceptors=(_Gate(secret),), options=options)
        methods = {name: _method(admin, name) for name in COMMANDS}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        try:
            self.port = self._server.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError:
            raise LaunchError("admin-port", f"{port} is taken", "a free port, or 0 for any") from None
        self._server.start()

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> AdminService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; calls under way have a second."""
        self._server.stop(1).wait()


class _Gate(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses, before a message is read, whoever does not bring the secret; also methods that do not exist."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        given = next((value for key, value in details.invocation_metadata if key == "authorization"), "")
        if isinstance(given, str) and matches(given, self._secret):
            return continuation(details)
        # a unary handler would wait for the message, and hold one of a few threads meanwhile
        return grpc.stream_unary_rpc_method_handler(_refuse)


def _refuse(_messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "authorization: wrong or missing; accepted: the admin secret")
    raise AssertionError("abort raises")


def _method(admin: ConceptAdmin, command: str) -> grpc.RpcMethodHandler:
    def handle(request: Struct, context: grpc.ServicerContext) -> Struct:
        try:
            return ParseDict(run(admin, command, MessageToDict(request)), Struct())
        except Exception as error:  # noqa: BLE001 - the last line of defence: a traceback is not for the caller
            code, message = _refusal(command, error)
        context.abort(code, message)
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(handle, Struct.FromString, Struct.SerializeToString)


def _refusal(command: str, error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, VicoError) and status_of(error) is not Status.INTERNAL:
        return grpc.StatusCode[status_of(error)], str(error)
    call = secrets.token_hex(8)
    logger.error("admin %s failed, call %s", command, call, exc_info=error)
    return grpc.StatusCode.INTERNAL, f"request: failed inside the server; accepted: try again, and report id {call!r}"
