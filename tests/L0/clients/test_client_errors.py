"""From gRPC statuses and the server's error lines to typed errors."""

from __future__ import annotations

import pickle

import grpc
import pytest
from fake_vico_server import FakeServer
from hypothesis import given
from hypothesis import strategies as st
from vico_client import (
    Client,
    ConceptNotFound,
    ConceptRejected,
    DeadlineExceeded,
    InvalidRequest,
    NotAllowed,
    Overloaded,
    ServerError,
    Unavailable,
    VicoClientError,
    VicoWarning,
)
from vico_client.status import ErrorLine, error_from_status, parse_error_line

TAGS = ("FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")

# status on the wire, details as Triton 2.51 sends them → error, status that is meant, field, problem, hint
ANSWERS = [
    (
        "INVALID_ARGUMENT",
        "in ensemble 'vico', steps: 0; accepted: a whole number from 1 to 100",
        (InvalidRequest, "INVALID_ARGUMENT", "steps", "0", "a whole number from 1 to 100"),
    ),
    (
        "NOT_FOUND",
        "in ensemble 'vico', concept: 'my-toy' is not in the registry; accepted: a concept in the registry",
        (ConceptNotFound, "NOT_FOUND", "concept", "'my-toy' is not in the registry", "a concept in the registry"),
    ),
    (
        "FAILED_PRECONDITION",
        "concept: made for another base; accepted: a package of this base",
        (ConceptRejected, "FAILED_PRECONDITION", "concept", "made for another base", "a package of this base"),
    ),
    (
        "INVALID_ARGUMENT",
        "in ensemble 'vico', concept: torn; accepted: an unaltered package [FAILED_PRECONDITION]",
        (ConceptRejected, "FAILED_PRECONDITION", "concept", "torn", "an unaltered package"),
    ),
    (
        "UNAVAILABLE",
        "in ensemble 'vico', request: no room; accepted: try again in 2 s [RESOURCE_EXHAUSTED]",
        (Overloaded, "RESOURCE_EXHAUSTED", "request", "no room", "try again in 2 s"),
    ),
    (
        "RESOURCE_EXHAUSTED",
        "request: no room; accepted: try again in 2 s",
        (Overloaded, "RESOURCE_EXHAUSTED", "request", "no room", "try again in 2 s"),
    ),
    (
        "UNAVAILABLE",
        "Exceeds maximum queue size",
        (Overloaded, "UNAVAILABLE", None, "Exceeds maximum queue size", None),
    ),
    (
        "UNAVAILABLE",
        "in ensemble 'vico', request: too late; accepted: a longer timeout [DEADLINE_EXCEEDED]",
        (DeadlineExceeded, "DEADLINE_EXCEEDED", "request", "too late", "a longer timeout"),
    ),
    (
        "INTERNAL",
        "in ensemble 'vico', request: failed inside the server; accepted: try again, and report id '7'",
        (ServerError, "INTERNAL", "request", "failed inside the server", "try again, and report id '7'"),
    ),
    (
        "INVALID_ARGUMENT",
        "[request id: 7] inference input 'steps' data-type is 'INT64', but model 'vico' expects 'INT32'",
        (
            InvalidRequest,
            "INVALID_ARGUMENT",
            "steps",
            "inference input 'steps' data-type is 'INT64', but model 'vico' expects 'INT32'",
            None,
        ),
    ),
    (
        "INVALID_ARGUMENT",
        "[request id: 7] unexpected shape for input 'steps' for model 'vico'. Expected [1], got [2]. ",
        (
            InvalidRequest,
            "INVALID_ARGUMENT",
            "steps",
            "unexpected shape for input 'steps' for model 'vico'. Expected [1], got [2].",
            None,
        ),
    ),
    ("INVALID_ARGUMENT", "prompt: empty", (InvalidRequest, "INVALID_ARGUMENT", "prompt", "empty", None)),
    ("UNKNOWN", "weird: thing", (ServerError, "UNKNOWN", None, "weird: thing", None)),
]


@pytest.mark.parametrize(("status", "details", "expected"), ANSWERS)
def test_every_refusal_becomes_its_error(
    client: Client,
    server: FakeServer,
    status: str,
    details: str,
    expected: tuple[type[VicoClientError], str, str | None, str, str | None],
) -> None:
    server.refuse(grpc.StatusCode[status], details)
    with pytest.raises(VicoClientError) as caught:
        client.generate("a toy", request_id="r3")
    error = caught.value
    assert (type(error), error.status, error.field, error.problem, error.hint) == expected
    assert error.request_id == "r3"


@pytest.mark.parametrize("missing", ["is not found", "has no available versions"])
def test_a_server_without_vico_is_unavailable_and_says_where(client: Client, server: FakeServer, missing: str) -> None:
    server.refuse(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: 'vico' {missing}")
    with pytest.raises(Unavailable, match=server.address):
        client.generate("a toy")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("CANCELLED", Unavailable),
        ("UNIMPLEMENTED", Unavailable),
        ("UNAUTHENTICATED", NotAllowed),
        ("DATA_LOSS", ServerError),
    ],
)
def test_statuses_outside_the_contract(status: str, kind: type[VicoClientError]) -> None:
    error = error_from_status(f"StatusCode.{status}", None)
    assert type(error) is kind
    assert error.status == status


def test_a_queue_timeout_of_triton_is_a_deadline() -> None:
    assert type(error_from_status("UNAVAILABLE", "Request timeout expired")) is DeadlineExceeded


def test_str_is_the_servers_line() -> None:
    line = "steps: 0; accepted: a whole number from 1 to 100"
    assert str(error_from_status("INVALID_ARGUMENT", line)) == line
    assert str(VicoClientError("broken")) == "broken"
    assert str(VicoClientError("broken", hint="mend it")) == "broken (mend it)"
    assert str(VicoClientError("broken", field="steps")) == "steps: broken"


def test_errors_and_warnings_survive_pickling() -> None:
    error = error_from_status("NOT_FOUND", "concept: gone; accepted: another", request_id="r1")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ConceptNotFound
    assert vars(copy) == vars(error)
    warning = pickle.loads(pickle.dumps(VicoWarning("code", "message")))
    assert (warning.code, warning.message) == ("code", "message")


_fields = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
_hints = st.text().map(str.strip).filter(lambda text: "; accepted: " not in text and not text.endswith("]"))
_prefixes = st.sampled_from(["", "in ensemble 'vico', ", "[request id: 7] ", "[request id: 7] in ensemble 'vico', "])


@given(prefix=_prefixes, field=_fields, problem=st.text(), hint=_hints, tag=st.none() | st.sampled_from(TAGS))
def test_any_line_in_the_contracts_form_comes_apart(
    prefix: str, field: str, problem: str, hint: str, tag: str | None
) -> None:
    line = f"{prefix}{field}: {problem}; accepted: {hint}" + (f" [{tag}]" if tag else "")
    expected = ErrorLine(problem, field, hint, tag)
    if hint or tag:
        assert parse_error_line(line) == expected


@given(status=st.sampled_from([code.name for code in grpc.StatusCode]), details=st.none() | st.text())
def test_any_status_and_any_text_give_an_error_that_can_be_shown(status: str, details: str | None) -> None:
    error = error_from_status(status, details)
    assert isinstance(error, VicoClientError)
    assert isinstance(str(error), str)
