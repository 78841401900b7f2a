"""Refusals of the studio, and how any refusal is put to the person at the page."""

from __future__ import annotations

from dataclasses import dataclass

from vico_client import Cancelled, DeadlineExceeded, NotAllowed, Overloaded, ServerError, Unavailable, VicoClientError

from vico.errors import VicoError


class StudioError(VicoError):
    """A wish that the studio cannot carry out as it is."""


@dataclass(frozen=True)
class Problem:
    """What to tell a person. field: what to look at; hint: what would do, "" if nobody knows."""

    field: str
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{self.field}: {self.problem}" + (f" ({self.hint})" if self.hint else "")


_OF_THE_SERVER: dict[type[VicoClientError], Problem] = {
    Cancelled: Problem("picture", "stopped"),
    Unavailable: Problem("server", "the picture server does not answer", "try again in a moment"),
    NotAllowed: Problem("server", "the picture server does not know this studio's key", "ask whoever runs the studio"),
    ServerError: Problem("server", "the picture server failed", "try again"),
    DeadlineExceeded: Problem("time", "the picture was not ready in time", "fewer steps, or the same again later"),
    Overloaded: Problem("server", "the picture server has too much to do", "the same again in a moment"),
}


def problem_of(error: VicoError | VicoClientError) -> Problem:
    """In plain words; what concerns the server names no address."""
    if isinstance(error, VicoError):
        return Problem(error.field, error.problem, error.accepted)
    for kind, problem in _OF_THE_SERVER.items():
        if isinstance(error, kind):
            return problem
    return Problem(error.field or "request", error.problem, error.hint or "")
