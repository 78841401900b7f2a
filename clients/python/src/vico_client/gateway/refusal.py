"""Errors as OpenAI's clients read them: HTTP status and `{"error": {message, type, param, code}}`.

What the server said of a field passes on, under the field's name in this API. What gRPC or the SDK say of addresses and
certificates does not: the gateway's log has it.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from typing import Any

from vico_client.errors import (
    Cancelled,
    ConceptNotFound,
    ConceptRejected,
    DeadlineExceeded,
    InvalidRequest,
    NotAllowed,
    Overloaded,
    ServerError,
    Unavailable,
    UntrustedServer,
    VicoClientError,
)

logger = logging.getLogger("vico.gateway")

PARAMS = {
    "prompt": "prompt",
    "concept": "model",
    "reference_image": "image",
    "request": "image",  # what gRPC calls too large
    "num_images": "n",
    "height": "size",
    "width": "size",
    "output_format": "output_format",
    "preset": "quality",
    "progress_every": "partial_images",
    "timeout": "vico.deadline",
    "api_key": "authorization",
    "authorization": "authorization",
    **{
        name: f"vico.{name}"
        for name in (
            "seed", "steps", "sampler", "guidance_scale", "image_guidance", "negative_prompt", "priority", "deadline",
        )
    },
}  # fmt: skip
"""A field of a `GenerateRequest` → its name here."""

_NEXT_IN = re.compile(r"\bnext one in (?P<seconds>[0-9]+(\.[0-9]+)?) s\b")
_SHORTLY = 1  # seconds after which a server that was full, or away, may be asked again


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - what the client is told, not a fault
    """An answer that is an error. retry_after: seconds, None = not to be sent again."""

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retry_after: int | None = None
    request_id: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After and X-Request-Id, where they are known."""
        known = {"retry-after": self.retry_after, "x-request-id": self.request_id}
        return {name: str(value) for name, value in known.items() if value is not None}


@dataclass(frozen=True)
class _Kind:
    """Of a class of errors. words: said where an error names no field, as its own words may be internal."""

    status: int
    type: str
    code: str
    words: str | None = None
    retried: bool = False


_KINDS: dict[type[VicoClientError], _Kind] = {
    InvalidRequest: _Kind(400, "invalid_request_error", "invalid_value"),
    ConceptNotFound: _Kind(404, "invalid_request_error", "model_not_found"),
    ConceptRejected: _Kind(422, "invalid_request_error", "model_unusable"),
    NotAllowed: _Kind(401, "authentication_error", "invalid_api_key"),
    Overloaded: _Kind(429, "rate_limit_error", "overloaded", retried=True),
    DeadlineExceeded: _Kind(504, "timeout_error", "deadline_exceeded", "the pictures were not ready in time"),
    UntrustedServer: _Kind(502, "server_error", "bad_gateway", "the gateway does not trust the picture server"),
    Unavailable: _Kind(503, "server_error", "unavailable", "the picture server does not answer", retried=True),
    Cancelled: _Kind(503, "server_error", "stopping", "the gateway is stopping", retried=True),
    ServerError: _Kind(500, "server_error", "server_error", "the picture server failed"),
    VicoClientError: _Kind(503, "server_error", "stopping", "the gateway is stopping", retried=True),  # closed client
}
"""Every class of the SDK's errors; a new one that is not here counts as its nearest base."""

CODES = frozenset((kind.status, kind.code) for kind in _KINDS.values())
"""(HTTP status, `code`) of every answer that is an error of the SDK."""


def refusal_of(error: VicoClientError) -> Refusal:
    """What the caller is told of an error of the SDK."""
    kind = next(_KINDS[base] for base in type(error).__mro__ if base in _KINDS)
    param = PARAMS.get(error.field or "")
    if error.status == "PERMISSION_DENIED":
        kind = _Kind(403, "permission_error", "forbidden")
    if isinstance(error, InvalidRequest) and error.field == "api_key":
        kind = _KINDS[NotAllowed]
    if isinstance(error, InvalidRequest) and error.field == "concept":
        kind = _KINDS[ConceptNotFound]  # a name that no concept can have
    if (kind.words is not None and error.field is None) or isinstance(error, (ServerError, UntrustedServer)):
        logger.warning("request %s: %s: %s", error.request_id, type(error).__name__, error)
    return Refusal(
        kind.status,
        kind.type,
        kind.code,
        _message(error, kind, param),
        param,
        _retry_after(error) if kind.retried else None,
        error.request_id,
    )


def _message(error: VicoClientError, kind: _Kind, param: str | None) -> str:
    if kind.words is not None and (param is None or isinstance(error, (ServerError, UntrustedServer))):
        return kind.words
    line = f"{param}: {error.problem}" if param else error.problem
    return f"{line}; accepted: {error.hint}" if error.hint else line


def _retry_after(error: VicoClientError) -> int:
    found = _NEXT_IN.search(error.hint or "")
    return max(_SHORTLY, math.ceil(float(found["seconds"]))) if found else _SHORTLY
