"""ViCo over tritonclient's own client: for the load generator, which measures what anybody's client would get.

No retries and no choice of servers. `Client` and `AsyncClient` have channels of their own (`vico_client.channel`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from tritonclient.grpc import InferRequestedOutput
from tritonclient.utils import InferenceServerException

from vico_client.encode import infer_inputs
from vico_client.messages import GenerateRequest
from vico_client.settings import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, TLS, checked_addresses, key_from, key_metadata
from vico_client.status import error_from_status
from vico_client.wire import MODEL, OUTPUTS

__all__ = ["DEFAULT_ADDRESS", "DEFAULT_TIMEOUT", "MODEL", "channel_arguments", "infer_arguments", "typed_errors"]


def channel_arguments(address: str, tls: TLS | None) -> dict[str, Any]:
    """Arguments of both of tritonclient's InferenceServerClient classes."""
    (checked,) = checked_addresses([address])
    if tls is None:
        return {"url": checked}
    return {"url": checked, "ssl": True, **{spec.name: getattr(tls, spec.name) for spec in fields(TLS)}}


def infer_arguments(request: GenerateRequest, timeout: float) -> dict[str, Any]:
    """Arguments of `infer`; timeout [s] ends the call here and tells the server when nobody waits any more.

    The API key is that of VICO_API_KEY.
    """
    return {
        "model_name": MODEL,
        "inputs": infer_inputs(request),
        "outputs": [InferRequestedOutput(name) for name in OUTPUTS],
        "request_id": request.request_id,
        "timeout": math.ceil(timeout * 1e6),  # microseconds
        "client_timeout": timeout,
        "headers": dict(key_metadata(key_from(None, os.environ))),
    }


@contextmanager
def typed_errors(address: str, request_id: str | None = None) -> Iterator[None]:
    """Turn what tritonclient raises into a VicoClientError."""
    try:
        yield
    except InferenceServerException as error:
        raise error_from_status(
            error.status() or "UNKNOWN", error.message(), address=address, request_id=request_id
        ) from error
