"""What a request can be refused for, and how a refusal travels through Triton."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from vico.errors import ConceptError, PromptError, SamplerError, VicoError


class Status(StrEnum):
    """The gRPC status that a refusal means."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"


class ServingError(VicoError):
    """The root of every refusal of this room."""

    status = Status.INTERNAL


class InvalidField(ServingError):  # noqa: N818 - reads as what it is at every raise
    """A field of the request is wrong."""

    status = Status.INVALID_ARGUMENT


class ConceptNotFound(ServingError):  # noqa: N818
    """No such concept, or no such version of it, in the registry."""

    status = Status.NOT_FOUND


class ConceptRefused(ServingError):  # noqa: N818
    """The concept's package is damaged, or made for another base."""

    status = Status.FAILED_PRECONDITION


class Overloaded(ServingError):  # noqa: N818
    """There is no room for the request now."""

    status = Status.RESOURCE_EXHAUSTED


class RegistryUnreachable(ServingError):  # noqa: N818
    """The registry cannot be asked; what was loaded before goes on."""

    status = Status.UNAVAILABLE


class ConceptLoading(ServingError):  # noqa: N818
    """The concept is on its way; the same request succeeds in a moment."""

    status = Status.UNAVAILABLE


class ShuttingDown(ServingError):  # noqa: N818
    """The server takes nothing more."""

    status = Status.UNAVAILABLE


class DeadlineExceeded(ServingError):  # noqa: N818
    """The client's timeout passed."""

    status = Status.DEADLINE_EXCEEDED


class Relayed(ServingError):  # noqa: N818
    """What one of our models answered another."""

    def __init__(self, status: Status, line: str) -> None:
        self.status = status
        field, _, rest = line.partition(": ")
        problem, _, accepted = rest.partition("; accepted: ")
        super().__init__(field, problem, accepted)

    @staticmethod
    def from_message(message: str) -> Relayed | None:
        """From a message of `to_wire`, tagged; None if it is another: Triton's own, or of a fault."""
        found = _TAGGED_LINE.fullmatch(message)
        return None if found is None else Relayed(Status(found["status"]), found["line"])


class GraphError(ServingError):
    """A graph cannot be run on the device that was asked for."""


class LaunchError(ServingError):
    """The server cannot be started, or stopped by itself."""


@dataclass(frozen=True)
class WireError:
    """A refusal as Triton carries it."""

    code: str
    """Name of a constant of `pb_utils.TritonError`."""
    message: str
    """One line."""


MESSAGE_LIMIT = 1000
"""Characters; a message never grows with a hostile request."""

_TAGGED_LINE = re.compile(rf"(?P<line>[a-z][a-z0-9_]*: [^\n]*; accepted: [^\n]*) \[(?P<status>{'|'.join(Status)})\]")
_CODES = {
    Status.INVALID_ARGUMENT: "INVALID_ARG",
    Status.NOT_FOUND: "NOT_FOUND",
    Status.FAILED_PRECONDITION: "INVALID_ARG",
    Status.RESOURCE_EXHAUSTED: "UNAVAILABLE",
    Status.UNAVAILABLE: "UNAVAILABLE",
    Status.DEADLINE_EXCEEDED: "UNAVAILABLE",
    Status.INTERNAL: "INTERNAL",
}
# Triton 2.51's Python backend has no code for these: the message says which one is meant
_TAGGED = {Status.FAILED_PRECONDITION, Status.RESOURCE_EXHAUSTED, Status.DEADLINE_EXCEEDED}


def status_of(error: VicoError) -> Status:
    """The gRPC status of any refusal of this project that may reach a client."""
    if isinstance(error, ServingError):
        return error.status
    if isinstance(error, PromptError | SamplerError):
        return Status.INVALID_ARGUMENT
    return Status.FAILED_PRECONDITION if isinstance(error, ConceptError) else Status.INTERNAL


def to_wire(error: VicoError, *, always_tagged: bool = False) -> WireError:
    """Translate a refusal for Triton: the nearest code it has, the message on one line of bounded length.

    Args:
        error: the refusal.
        always_tagged: also where Triton has the code: between two of its models it forgets it.
    """
    status = status_of(error)
    message = " ".join(str(error).split())[:MESSAGE_LIMIT]
    return WireError(_CODES[status], f"{message} [{status}]" if always_tagged or status in _TAGGED else message)


def internal(request_id: str) -> WireError:
    """Our own fault: the client learns a request id and nothing else."""
    message = f"request: failed inside the server; accepted: try again, and report id {request_id!r}"
    return WireError("INTERNAL", message)
