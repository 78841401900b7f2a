"""The application against its own OpenAPI document, with requests that schemathesis makes up."""

from __future__ import annotations

from typing import Any

import pytest
from fake_sdk import FakeClient, app_of, encoded, making
from hypothesis import HealthCheck, settings

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
from schemathesis.specs.openapi import checks as openapi  # noqa: E402

schema = schemathesis.openapi.from_asgi("/openapi.json", app_of(FakeClient(events=making())))
CHECKS = (
    schemathesis.checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
    openapi.negative_data_rejection,
    openapi.unsupported_method,
)


@schemathesis.hook  # type: ignore[untyped-decorator]
def map_body(_context: Any, body: Any) -> Any:
    """A made-up photo is hardly ever a picture."""
    if isinstance(body, dict) and isinstance(body.get("image"), bytes):
        return {**body, "image": encoded()}
    return body


@schema.parametrize()  # type: ignore[untyped-decorator]
@settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_it_keeps_its_own_contract(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)
