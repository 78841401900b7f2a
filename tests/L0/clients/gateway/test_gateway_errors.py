"""Every error of the SDK as an answer: status, shape, and nothing internal in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest
import vico_client
from fake_sdk import FakeClient, app_of, call, generate, making
from vico_client import GenerateRequest, VicoClientError
from vico_client.gateway.refusal import PARAMS
from vico_client.status import error_from_status

STATUSES = {
    "InvalidRequest": (400, "invalid_value"),
    "ConceptNotFound": (404, "model_not_found"),
    "ConceptRejected": (422, "model_unusable"),
    "NotAllowed": (401, "invalid_api_key"),
    "Overloaded": (429, "overloaded"),
    "DeadlineExceeded": (504, "deadline_exceeded"),
    "Unavailable": (503, "unavailable"),
    "UntrustedServer": (502, "bad_gateway"),
    "Cancelled": (503, "stopping"),
    "ServerError": (500, "server_error"),
    "VicoClientError": (503, "stopping"),
}


def _family(kind: type[VicoClientError] = VicoClientError) -> Iterator[type[VicoClientError]]:
    if kind.__module__.startswith("vico_client.errors"):
        yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


def test_every_class_is_here() -> None:
    assert {kind.__name__ for kind in _family()} == set(STATUSES)


@pytest.mark.parametrize("name", STATUSES)
@pytest.mark.parametrize("method", ["generate", "stream", "models"])
def test_an_error_of_the_sdk_is_answered(name: str, method: str) -> None:
    error = getattr(vico_client, name)("problem", field="steps", hint="1 to 100", request_id="r1")
    app = app_of(FakeClient(error=error))
    answer = call(app, "GET", "/v1/models") if method == "models" else generate(app, stream=method == "stream")
    status, code = STATUSES[name]
    assert answer.status_code == status
    told = answer.json()["error"]
    assert told["code"] == code
    assert answer.headers["x-request-id"] == "r1"
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    if name not in ("ServerError", "UntrustedServer"):
        assert told["message"] == "vico.steps: problem; accepted: 1 to 100"
        assert told["param"] == "vico.steps"


@pytest.mark.parametrize("name", ["Unavailable", "UntrustedServer", "ServerError", "DeadlineExceeded", "Cancelled"])
def test_what_names_no_field_may_be_internal_and_is_not_passed_on(name: str) -> None:
    secret = "failed to connect to ipv4:10.0.0.7:8001"
    error = getattr(vico_client, name)(secret, hint="check that a ViCo server listens at 10.0.0.7:8001")
    assert "10.0.0.7" not in generate(app_of(FakeClient(error=error))).text


@pytest.mark.parametrize(
    ("status", "line", "expected", "param"),
    [
        ("INVALID_ARGUMENT", "prompt: no '*'; accepted: one '*'", (400, "invalid_value"), "prompt"),
        ("INVALID_ARGUMENT", "concept: 'DALL-E'; accepted: an id", (404, "model_not_found"), "model"),
        ("INVALID_ARGUMENT", "num_images: 9; accepted: 1 to 8", (400, "invalid_value"), "n"),
        ("INVALID_ARGUMENT", "width: 7; accepted: a multiple of 8", (400, "invalid_value"), "size"),
        (
            "UNAUTHENTICATED",
            "authorization: none; accepted: one",
            (401, "invalid_api_key"),
            "authorization",
        ),
        ("PERMISSION_DENIED", "method: closed; accepted: others", (403, "forbidden"), None),
        ("RESOURCE_EXHAUSTED", "timeout: 1 s; accepted: at least 3 s", (429, "overloaded"), "vico.deadline"),
        ("RESOURCE_EXHAUSTED", "message larger than max (9 vs. 8)", (400, "invalid_value"), "image"),
        ("UNAVAILABLE", "concept: is being fetched; accepted: later", (503, "unavailable"), "model"),
        ("UNAVAILABLE", "failed to connect", (503, "unavailable"), None),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", (504, "deadline_exceeded"), None),
        ("INTERNAL", "request: failed; accepted: again", (500, "server_error"), "image"),
    ],
)
def test_the_servers_own_lines(status: str, line: str, expected: tuple[int, str], param: str | None) -> None:
    answer = generate(app_of(FakeClient(error=error_from_status(status, line))))
    error = answer.json()["error"]
    assert ((answer.status_code, error["code"]), error["param"]) == (expected, param)


def test_a_server_says_when_to_come_again() -> None:
    line = "request: too many in the last minute; accepted: 60 a minute; the next one in 41.2 s"
    answer = generate(app_of(FakeClient(error=error_from_status("RESOURCE_EXHAUSTED", line))))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "42")


def test_every_field_of_the_sdk_has_a_name_here() -> None:
    names = {spec.name for spec in fields(GenerateRequest)} - {"request_id"}
    assert names <= set(PARAMS)


def test_a_fault_of_the_gateway_tells_nothing() -> None:
    answer = generate(app_of(FakeClient(error=RuntimeError("/etc/secret"))))
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "the gateway failed"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/images/edits", 405)])
def test_other_addresses_are_answered_in_the_same_shape(method: str, path: str, status: int) -> None:
    answer = call(app_of(FakeClient()), method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_error_in_the_middle_of_a_stream_is_an_event() -> None:
    client = FakeClient(events=[*making()[:3], vico_client.ServerError("lost", request_id="r1")])
    answer = generate(app_of(client), stream=True)
    assert answer.status_code == 200
    assert answer.text.endswith("\n\n")
    last = answer.text.strip().split("\n\n")[-1]
    assert last.startswith("event: error\ndata: ")
    assert "the picture server failed" in last
    assert client.streams[0].closed
