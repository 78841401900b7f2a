"""Replay of a recorded day: a CSV file with one request a line.

The column `at` is required (seconds, from any zero; rows in any order). Any other column is a field of the request
(`concept`, `steps`, `prompt`, …) or `deadline`; an empty cell is drawn from the workload.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vico_client.encode import tensors
from vico_client.errors import InvalidRequest
from vico_client.loadtest.errors import LoadTestError, read_text
from vico_client.messages import GenerateRequest

_PARSERS = {"BYTES": str, "INT32": int, "INT64": int, "FP32": float}
_FIELDS = {
    spec.name: _PARSERS[spec.metadata["datatype"]]
    for spec in fields(GenerateRequest)
    if "datatype" in spec.metadata and spec.name != "reference_image"
}


@dataclass(frozen=True)
class TraceRow:
    """at: seconds from the first row; fields: those that the trace gives; deadline: seconds."""

    at: float
    fields: dict[str, Any]
    deadline: float | None


def read_trace(path: Path, speed: float = 1.0) -> list[TraceRow]:
    """Rows by time, the first at 0, `speed` times as fast as recorded. LoadTestError names line and column."""
    lines = csv.DictReader(read_text(path, "trace").splitlines())
    columns = lines.fieldnames or []
    unknown = set(columns) - {"at", "deadline", *_FIELDS}
    if "at" not in columns or unknown:
        problem = f"unknown column {min(unknown)!r}" if unknown else "has no column 'at'"
        raise LoadTestError(problem, field="trace", hint="at, deadline, " + ", ".join(_FIELDS))
    rows = sorted((_row(line, number) for number, line in enumerate(lines, 2)), key=lambda row: row.at)
    if not rows:
        raise LoadTestError("has no rows", field="trace", hint="at least one request")
    return [TraceRow((row.at - rows[0].at) / speed, row.fields, row.deadline) for row in rows]


def _row(line: dict[str, Any], number: int) -> TraceRow:
    given = {name: text for name, text in line.items() if text}
    if None in given:
        raise LoadTestError(f"line {number} has more cells than columns", field="trace", hint="one cell per column")
    request = {name: _parsed(name, text, number) for name, text in given.items() if name in _FIELDS}
    try:
        tensors(GenerateRequest(**{"prompt": "", **request}))
    except InvalidRequest as error:
        raise LoadTestError(f"line {number}: {error.problem}", field=f"trace.{error.field}", hint=error.hint) from None
    deadline = _seconds("deadline", given["deadline"], number) if "deadline" in given else None
    if deadline is not None and deadline <= 0:
        raise LoadTestError(f"line {number}: {deadline}", field="trace.deadline", hint="seconds above 0")
    return TraceRow(_seconds("at", given.get("at", ""), number), request, deadline)


def _seconds(name: str, text: str, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise LoadTestError(f"line {number}: {text!r}", field=f"trace.{name}", hint="a finite number of seconds")
    return value


def _parsed(name: str, text: str, number: int) -> Any:
    try:
        return _FIELDS[name](text)
    except ValueError:
        raise LoadTestError(f"line {number}: {text!r}", field=f"trace.{name}", hint=_FIELDS[name].__name__) from None
