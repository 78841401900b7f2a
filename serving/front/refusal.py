"""What a client is told: one line, in our own words, whatever went wrong behind the door."""

from __future__ import annotations

import logging
import re

import grpc

from serving.errors import MESSAGE_LIMIT, internal
from vico.errors import VicoError

logger = logging.getLogger("vico.front")

_PREFIX = re.compile(r"(\[request id: [^\]\n]*\] |in ensemble '[^'\n]*', )*")
_OUR_LINE = re.compile(r"[a-z][a-z0-9_]{0,63}: [^\n]*; accepted: [^\n]*")
_BY_GRPC = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
_DEAD_STAGE = re.compile(r"is not healthy|[Ss]tub process|is not ready|unavailable")


class Refused(VicoError):  # noqa: N818 - reads as what it is at every raise
    """A call that the front door refuses."""

    def __init__(self, status: grpc.StatusCode, field: str, problem: str, accepted: str) -> None:
        self.status = status
        super().__init__(field, problem, accepted)

    @property
    def line(self) -> str:
        """One line of bounded length."""
        return " ".join(str(self).split())[:MESSAGE_LIMIT]


def invalid(field: str, problem: str, accepted: str) -> Refused:
    """A field of the call is wrong."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, field, problem, accepted)


def unavailable(problem: str) -> Refused:
    """The same call may succeed in a moment."""
    return Refused(grpc.StatusCode.UNAVAILABLE, "request", problem, "the same request later")


def bare(text: str) -> str:
    """What a stage said, without what Triton put before it."""
    return _PREFIX.sub("", text, count=1)


def is_answer(error: grpc.RpcError) -> bool:
    """Whether Triton or a stage said this, and so has ended the call; else gRPC did, and nobody knows how it ended."""
    ours = _OUR_LINE.fullmatch(bare(error.details() or ""))
    return ours is not None or error.code() not in _BY_GRPC


def translated(error: grpc.RpcError, request_id: str) -> tuple[grpc.StatusCode, str]:
    """Status and line for a client of what Triton answered: our stages' own lines pass, its words stay in the log."""
    code, details = error.code(), error.details() or ""
    line = bare(details)
    if _OUR_LINE.fullmatch(line):
        return code, line
    known = {"request_id": request_id}
    logger.warning("request %r failed behind the door: %s %.500r", request_id, code.name, details, extra=known)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return code, "timeout: it passed before the pictures were done; accepted: a longer one"
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return code, "request: its form is refused; accepted: inputs of the documented names, types and shapes"
    gone = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    if gone or _DEAD_STAGE.search(details):
        refused = unavailable("the server could not finish it")
        return refused.status, refused.line
    return grpc.StatusCode.INTERNAL, internal(request_id).message
