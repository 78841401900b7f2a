"""gRPC channels as both clients open them, and the errors that calls on them end in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from vico_client.errors import VicoClientError
from vico_client.settings import Settings
from vico_client.status import error_from_status

_OPTIONS = (
    # limits are the server's
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # a peer that vanished without a word is noticed while a call waits for it
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # a server that comes back is found soon; one that swallows packets does not hold a call up for long
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # two clients of one process, perhaps with different keys, do not share a connection's fate
    ("grpc.use_local_subchannel_pool", 1),
)


def open_channel(library: Any, address: str, settings: Settings) -> Any:
    """A channel of `library` (grpc or grpc.aio); connects when it is first used, and again when it must."""
    if settings.tls is None:
        return library.insecure_channel(address, options=_OPTIONS)
    return library.secure_channel(address, settings.tls.credentials(), options=_OPTIONS)


@contextmanager
def typed_call_errors(address: str, request_id: str | None = None) -> Iterator[None]:
    """Turn what gRPC raises into a VicoClientError."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_from_status(error.code().name, error.details(), address=address, request_id=request_id) from error


def closed_error() -> VicoClientError:
    """For a call after `close()`."""
    return VicoClientError("this client is closed")
