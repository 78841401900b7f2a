"""Calls the admin service; or does the same on a registry itself, where there is no server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from serving.admin.commands import Body, run
from serving.admin.concepts import ConceptAdmin
from serving.admin.secret import bearer
from serving.admin.service import SERVICE
from serving.errors import ConceptNotFound, ConceptRefused, InvalidField, Overloaded, RegistryUnreachable
from vico.errors import VicoError

TIMEOUT_SECONDS = 120.0
"""To keep a version, a whole package is read and written."""

_ERRORS: Mapping[grpc.StatusCode, type[VicoError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidField,
    grpc.StatusCode.NOT_FOUND: ConceptNotFound,
    grpc.StatusCode.FAILED_PRECONDITION: ConceptRefused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: RegistryUnreachable,
}


class Commander(Protocol):
    """Runs the commands of `concepts.proto`."""

    def __call__(self, command: str, **body: str) -> Body:
        """Run one. Raises VicoError: it was refused."""


class Direct:
    """On a registry itself."""

    def __init__(self, admin: ConceptAdmin) -> None:
        self._admin = admin

    def __call__(self, command: str, **body: str) -> Body:
        """See `Commander`."""
        return run(self._admin, command, body)


class Remote:
    """Through the admin service of a running server.

    Args:
        address: host:port.
        secret: the service's.
    """

    def __init__(self, address: str, secret: str) -> None:
        self._address = address
        self._secret = secret

    def __call__(self, command: str, **body: str) -> Body:
        """See `Commander`."""
        with grpc.insecure_channel(self._address) as channel:
            call = channel.unary_unary(f"/{SERVICE}/{command}", Struct.SerializeToString, Struct.FromString)
            metadata = (("authorization", bearer(self._secret)),)
            try:
                answer = call(ParseDict(body, Struct()), timeout=TIMEOUT_SECONDS, metadata=metadata)
            except grpc.RpcError as error:
                raise _refusal(error) from None
        return {name: _whole(value) for name, value in MessageToDict(answer).items()}


def _refusal(error: Any) -> VicoError:
    """The service's refusal, as it was raised there."""
    head, form, accepted = str(error.details()).partition("; accepted: ")
    if not form:
        # grpc's own words, not the service's
        return RegistryUnreachable("server", "does not answer", "the address of a server's admin service")
    field, _, problem = head.partition(": ")
    return _ERRORS.get(error.code(), VicoError)(field, problem, accepted)


def _whole(value: Any) -> Any:
    """Numbers travel as doubles: whole ones are integers again."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    return value
