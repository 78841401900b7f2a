"""What the blocking and the asyncio client share: addresses, TLS, deadlines, a call's arguments, errors, warnings."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.grpc import InferRequestedOutput
from tritonclient.utils import InferenceServerException

from vico_client.encode import infer_inputs
from vico_client.errors import InvalidRequest, VicoClientError, VicoWarning
from vico_client.messages import GenerateInfo, GenerateRequest
from vico_client.status import error_from_status

DEFAULT_ADDRESS = "localhost:8001"
DEFAULT_TIMEOUT = 120.0  # seconds
MODEL = "vico"  # the ensemble's name in Triton
API_KEY_VARIABLE = "VICO_API_KEY"


@dataclass(frozen=True)
class TLS:
    """Encrypt the connection. Paths of PEM files; without `root_certificates` those of the system are trusted.

    For mutual TLS give `private_key` and `certificate_chain` too.
    """

    root_certificates: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None


def channel_arguments(address: str, tls: TLS | None) -> dict[str, Any]:
    """Arguments of both of tritonclient's InferenceServerClient classes."""
    if not address or address.startswith(("http:", "https:", "grpc:", "grpcs:")):
        raise InvalidRequest(f"{address!r} is not a gRPC address", field="address", hint="host:port")
    if tls is None:
        return {"url": address}
    return {"url": address, "ssl": True, **{name: _pem(name, path) for name, path in vars(tls).items()}}


def _pem(name: str, path: str | os.PathLike[str] | None) -> str | None:
    if path is not None and not Path(path).is_file():
        raise InvalidRequest(f"no file at {os.fspath(path)!r}", field=name, hint="the path of a PEM file")
    return None if path is None else os.fspath(path)


def key_headers(api_key: str | None) -> dict[str, str]:
    """The header that shows an API key; without one given, that of the environment variable `VICO_API_KEY`."""
    key = os.environ.get(API_KEY_VARIABLE) if api_key is None else api_key
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidRequest("not an API key", field="api_key", hint="the text that `vico keys add` printed")
    return {"authorization": f"Bearer {key}"}


def infer_arguments(request: GenerateRequest, timeout: float, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Arguments of `infer`; timeout [s] ends the call here and tells the server when nobody waits any more."""
    return {
        "model_name": MODEL,
        "inputs": infer_inputs(request),
        "outputs": [InferRequestedOutput("images"), InferRequestedOutput("info")],
        "request_id": request.request_id,
        "timeout": math.ceil(timeout * 1e6),  # microseconds
        "client_timeout": timeout,
        "headers": key_headers(None) if headers is None else headers,
    }


def checked_timeout(timeout: float | None, default: float) -> float:
    """Seconds; `default` for None."""
    seconds = default if timeout is None else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise InvalidRequest(f"{seconds!r} is not a duration", field="timeout", hint="seconds, more than 0 and finite")
    return float(seconds)


@contextmanager
def typed_errors(address: str, request_id: str | None = None) -> Iterator[None]:
    """Turn what tritonclient raises into a VicoClientError."""
    try:
        yield
    except InferenceServerException as error:
        raise error_from_status(
            error.status() or "UNKNOWN", error.message(), address=address, request_id=request_id
        ) from error


def closed_error() -> VicoClientError:
    """For a call after `close()`."""
    return VicoClientError("this client is closed")


def warn_user(info: GenerateInfo, stacklevel: int) -> None:
    """Repeat the server's warnings as Python warnings, at the caller's line."""
    for warning in info.warnings:
        warnings.warn(VicoWarning(warning.code, warning.message), stacklevel=stacklevel + 1)
