"""What became of one request: the line that everything else is made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vico_client.loadtest.storage import read_lines

EXPLAINED = frozenset({"Overloaded", "DeadlineExceeded"})
"""Errors that load explains: the server refused or was too slow. All others are unexplained."""


@dataclass(frozen=True)
class Record:
    """One request. All instants are seconds from the start of the test.

    scheduled: when it was due. sent, done: when it really was sent, and answered. deadline: seconds after scheduled.
    request: fields of the GenerateRequest. error: class of the error, "" for an answer; status: gRPC's ("OK").
    images: pictures in the answer; size: their bytes. info: the server's own words on the request.
    tenant: who sent it, "" if there is only one. first_preview, first_picture: instants, of streams only.
    """

    number: int
    request_id: str
    user: int | None
    scheduled: float
    sent: float
    done: float
    request: dict[str, Any]
    deadline: float | None = None
    warmup: bool = False
    checked: bool = False
    cold: bool = False
    status: str = "OK"
    error: str = ""
    message: str = ""
    images: int = 0
    size: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    tenant: str = ""
    first_preview: float | None = None
    first_picture: float | None = None

    @property
    def ok(self) -> bool:
        """Whether pictures came."""
        return not self.error

    @property
    def latency(self) -> float:
        """Seconds from when it was due: what a slow client or a stalled server hides is in it."""
        return self.done - self.scheduled

    @property
    def in_time(self) -> bool:
        """Pictures came, and within the deadline if there was one."""
        return self.ok and (self.deadline is None or self.latency <= self.deadline)

    @property
    def explained(self) -> bool:
        """Load accounts for the outcome."""
        return self.ok or self.error in EXPLAINED

    def line(self) -> str:
        """As one JSON line."""
        return json.dumps(asdict(self)) + "\n"


_NAMES = {spec.name for spec in fields(Record)}


def read_records(folder: Path) -> list[Record]:
    """All records of a test's folder, by the time they were due."""
    lines = read_lines(sorted(folder.glob("records-*.jsonl")))
    records = [Record(**{name: value for name, value in line.items() if name in _NAMES}) for line in lines]
    return sorted(records, key=lambda record: (record.scheduled, record.number))
