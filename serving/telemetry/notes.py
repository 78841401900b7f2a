"""What a stage notes of the request that it works on, for log and trace; without anybody who listens it is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Phase:
    """A part of a stage's work."""

    name: str
    begin: float
    """Seconds after the stage's begin."""
    end: float


@dataclass(eq=False)
class Notes:
    """Of one request in one stage."""

    request_id: str
    traceparent: str = ""
    """The stage's span, for calls of other stages; "" = there is no trace."""
    facts: dict[str, object] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    texts: tuple[str, ...] = ()
    """A person's own words: they stand in no log unless the operator asks for them."""
    routine: bool = False
    """Nobody's request: a canary, or word to the loop."""


_HERE: ContextVar[Notes | None] = ContextVar("notes", default=None)


def here() -> Notes | None:
    """Those of the request that this thread, or task, works on."""
    return _HERE.get()


@contextmanager
def taking(notes: Notes) -> Iterator[None]:
    """What is noted inside goes there."""
    token = _HERE.set(notes)
    try:
        yield
    finally:
        _HERE.reset(token)


def note(**facts: object) -> None:
    """Facts for the log's line and the span."""
    if (notes := here()) is not None:
        notes.facts |= facts


def note_phases(*phases: Phase) -> None:
    """Parts of the work, for the trace."""
    if (notes := here()) is not None:
        notes.phases += phases


def note_texts(*texts: str) -> None:
    """Words that must not stand in a log."""
    if (notes := here()) is not None:
        notes.texts = tuple(text for text in texts if text)


def note_routine() -> None:
    """Nobody asked for this."""
    if (notes := here()) is not None:
        notes.routine = True
