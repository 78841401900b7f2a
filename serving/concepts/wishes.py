"""What the processes of one server tell each other about concepts, through the folder of its store.

Only the first stage reads the registry. It resolves the operator's wishes to digests and writes them down here; the
stages that hold packages act on them, and write down what they hold.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vico.concept.atomic import write_atomically

_WISHES = "wishes.json"


@dataclass(frozen=True)
class Wishes:
    """Digests, the most wanted first."""

    pinned: tuple[str, ...] = ()
    prefetched: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Holding:
    """What one stage holds: digests."""

    stage: str
    host: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    host_bytes: int = 0
    max_host_bytes: int = 0


@dataclass(frozen=True)
class FileState:
    """What the first stage makes of one concept's file."""

    digest: str = ""
    """The version that requests get, "" if none."""
    error: str = ""
    """Why the newest file is refused, "" if it is not."""


def write_wishes(store: Path, wishes: Wishes) -> None:
    """For the other stages."""
    _write(store / _WISHES, asdict(wishes))


def read_wishes(store: Path) -> Wishes:
    """What the first stage wrote; none yet if it has not."""
    fields = _read(store / _WISHES)
    return Wishes(**{name: tuple(digests) for name, digests in fields.items()}) if fields else Wishes()


def write_holding(store: Path, holding: Holding) -> None:
    """For whoever asks what is resident."""
    _write(store / f"holding-{holding.stage}.json", asdict(holding))


def read_holdings(store: Path) -> list[Holding]:
    """What every stage that holds packages wrote last."""
    found = [_read(path) for path in sorted(store.glob("holding-*.json"))]
    return [
        Holding(**(fields | {"host": tuple(fields["host"]), "slots": tuple(fields["slots"])}))
        for fields in found
        if fields
    ]


def write_files(store: Path, files: dict[str, FileState]) -> None:
    """For whoever asks what became of a concept's file."""
    _write(store / "files.json", {concept_id: asdict(state) for concept_id, state in files.items()})


def read_files(store: Path) -> dict[str, FileState]:
    """By concept id, what the first stage has met so far."""
    return {concept_id: FileState(**fields) for concept_id, fields in _read(store / "files.json").items()}


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, sort_keys=True).encode()
    if not path.exists() or path.read_bytes() != text:
        write_atomically(path, text)


def _read(path: Path) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return fields


def version_of_wishes(store: Path) -> tuple[int, int]:
    """Changes whenever the wishes do; costs one look at the disk."""
    try:
        status = os.stat(store / _WISHES)  # noqa: PTH116 - one call, both fields
    except FileNotFoundError:
        return (0, 0)
    return (status.st_ino, status.st_mtime_ns)
