"""Pydantic's findings as refusals: the first one, by its name in this API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vico_client.gateway.refusal import Refusal

_WRAPPERS = ("body", "query", "path", "header")


def invalid(param: str | None, problem: str, status: int = 400) -> Refusal:
    """A request that must be corrected."""
    message = f"{param}: {problem}" if param else problem
    return Refusal(status, "invalid_request_error", "invalid_value", message, param)


def refusal_of_validation(findings: Sequence[Any]) -> Refusal:
    """findings: as pydantic lists them."""
    first = findings[0]
    place = [str(part) for part in first["loc"] if part not in _WRAPPERS]
    if first["type"] == "json_invalid":
        return invalid(None, "the body is not JSON")
    if not place:
        return invalid(None, "the body is not a JSON object")
    if first["type"] == "extra_forbidden":
        return Refusal(
            400,
            "invalid_request_error",
            "unknown_parameter",
            f"{'.'.join(place)}: unknown here; accepted: the fields of /openapi.json",
            ".".join(place),
        )
    return invalid(".".join(place), str(first["msg"]))
