"""The folder of a test: files whole or not there, and lines that are never lost.

run.json             what was run, written before the first request
plan.jsonl           the plan
records-<k>.jsonl    process k: one line per request, written when it ends
pictures/            answers kept for comparison
metrics.jsonl        the server's metrics, one line per scrape
check.json           pictures under load against the same alone
report.json, report.html, *.png    made from the above, at any time
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from vico_client.files import write_pictures
from vico_client.loadtest.errors import LoadTestError, read_text


def write_text(path: Path, text: str) -> None:
    """Write atomically; LoadTestError if it cannot be written."""
    try:
        write_pictures([memoryview(text.encode())], [path])
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LoadTestError(f"{path.name!r} cannot be written: {reason}", field="out", hint="a folder") from None


def write_json(path: Path, content: Any) -> None:
    """Write as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; LoadTestError if it is none."""
    try:
        return json.loads(read_text(path, "folder"))
    except ValueError as error:
        raise LoadTestError(f"{path.name} is malformed: {error}", field="folder", hint="a load test's folder") from None


def new_folder(path: Path) -> Path:
    """Make an empty folder; one that holds anything is refused, results are never overwritten."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        empty = not any(path.iterdir())
    except OSError as error:
        raise LoadTestError(f"{str(path)!r}: {error.strerror}", field="out", hint="a new or empty folder") from None
    if not empty:
        raise LoadTestError(f"{str(path)!r} is not empty", field="out", hint="a new or empty folder")
    return path


def open_lines(path: Path) -> IO[str]:
    """A file whose every line is handed to the operating system at once: a killed process loses none."""
    return path.open("a", encoding="utf-8", buffering=1)


def read_lines(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """The JSON lines of the files; a last line that was cut off (a full disk, a crash) is left out."""
    for path in paths:
        for line in read_text(path, "folder").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue
