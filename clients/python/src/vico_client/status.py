"""From a gRPC status and its one line of details to the typed error.

The line is `<field>: <problem>; accepted: <what>`. Triton puts its own words in front of it. Where its Python backend
has no code for a status, the nearest travels and the line ends in the one that is meant: ` [FAILED_PRECONDITION]`.
Triton also says things of its own (unknown model, queue full); those texts were read from tritonserver 2.51.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from vico_client.errors import (
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
from vico_client.messages import GenerateRequest

_TRITON_PREFIX = re.compile(r"^(\[request id: [^\]]*\] |in ensemble '[^']*', )*")
_STATUS_TAG = re.compile(
    r"(?P<line>.*) \[(?P<status>FAILED_PRECONDITION|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED)\]", re.DOTALL
)
_CONTRACT_LINE = re.compile(r"(?P<field>[a-z][a-z0-9_]*): (?P<problem>.*); accepted: (?P<hint>.*)", re.DOTALL)
_LINE_WITHOUT_HINT = re.compile(
    rf"(?P<field>{'|'.join(spec.name for spec in fields(GenerateRequest))}): (?P<problem>.*)", re.DOTALL
)
_TOO_LARGE = re.compile(r"message larger than max \([0-9]+ vs\. (?P<limit>[0-9]+)\)")  # gRPC's words for it
_TLS_FAILURE = re.compile(r"certificate.verify.failed|handshake failed|SSL_ERROR|hostname verification", re.IGNORECASE)
_TRITON_INPUT = re.compile(r"input '(?P<field>[a-z][a-z0-9_]*)'")

_BY_STATUS: dict[str, type[VicoClientError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": ConceptNotFound,
    "FAILED_PRECONDITION": ConceptRejected,
    "UNAUTHENTICATED": NotAllowed,
    "PERMISSION_DENIED": NotAllowed,
    "RESOURCE_EXHAUSTED": Overloaded,
    "UNAVAILABLE": Unavailable,
    "CANCELLED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNIMPLEMENTED": Unavailable,  # some other gRPC server
}
"""All else (INTERNAL, UNKNOWN, DATA_LOSS, ABORTED, …) is a ServerError."""


@dataclass(frozen=True)
class ErrorLine:
    """The parts of a server's error line; None for those that it does not have."""

    problem: str
    field: str | None = None
    hint: str | None = None
    status: str | None = None  # the status that is meant, where it is not the one that travelled


def parse_error_line(details: str) -> ErrorLine:
    """Split `<field>: <problem>; accepted: <what> [<status>]`; without Triton's prefix; other text is the problem."""
    line = _TRITON_PREFIX.sub("", details).strip()
    tagged = _STATUS_TAG.fullmatch(line)
    status = tagged["status"] if tagged else None
    line = tagged["line"] if tagged else line
    for form in (_CONTRACT_LINE, _LINE_WITHOUT_HINT):
        parts = form.fullmatch(line)
        if parts:
            return ErrorLine(**parts.groupdict(), status=status)
    named = _TRITON_INPUT.search(line)
    return ErrorLine(line, named["field"] if named else None, status=status)


def error_from_status(
    status: str, details: str | None, *, address: str = "", request_id: str | None = None
) -> VicoClientError:
    """The error to raise for a gRPC status name ("NOT_FOUND" or "StatusCode.NOT_FOUND") and the server's details."""
    too_large = _TOO_LARGE.search(details or "")
    if too_large:
        limit = f"at most {too_large['limit']} bytes; a smaller reference_image"
        return InvalidRequest("too large", field="request", hint=limit, status=_name(status), request_id=request_id)
    line = parse_error_line(details or "no details")
    meant = line.status or _name(status)
    kind = _kind(meant, line)
    hint = line.hint or _own_hint(kind, address)
    return kind(line.problem, field=line.field, hint=hint, status=meant, request_id=request_id)


def _name(status: str) -> str:
    return status.rpartition(".")[2]


def _kind(status: str, line: ErrorLine) -> type[VicoClientError]:
    """The status decides, but for things that Triton and gRPC say themselves."""
    if status == "NOT_FOUND" and line.field is None:  # "Request for unknown model: 'vico' is not found"
        return Unavailable
    if status == "UNAVAILABLE" and "maximum queue size" in line.problem:
        return Overloaded
    if status == "UNAVAILABLE" and "Request timeout expired" in line.problem:
        return DeadlineExceeded
    if status == "UNAVAILABLE" and line.field is None and _TLS_FAILURE.search(line.problem):
        return UntrustedServer
    return _BY_STATUS.get(status, ServerError)


def _own_hint(kind: type[VicoClientError], address: str) -> str | None:
    if kind is UntrustedServer:
        return "tls with the root certificate of the server's authority, and the host name that its certificate names"
    if kind is Unavailable:
        return f"check that a ViCo server listens at {address}" if address else None
    if kind is DeadlineExceeded:
        return "give a longer timeout, or ask for fewer steps, fewer images or a smaller size"
    return None
