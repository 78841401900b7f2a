"""What is known of one graph in the store, kept beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from export.check import Deviation
from vico.concept.atomic import write_atomically
from vico.concept.graphset import GraphName, TargetName


@dataclass(frozen=True)
class GraphRecord:
    """What is known of one graph."""

    name: GraphName
    digest: str
    """What it was made from."""
    nodes: int
    attention_nodes: int
    size_bytes: int
    """Of graph and weights."""
    export_seconds: float
    target: TargetName
    max_error: float | None = None
    """Against torch; None until checked."""


@dataclass(frozen=True)
class GraphResult:
    """What an export did about one graph."""

    record: GraphRecord
    model: Path
    is_new: bool
    """False if an earlier export had made it already."""
    deviations: tuple[Deviation, ...] = ()
    """Empty if it was not checked this time."""


def read_record(model: Path) -> GraphRecord:
    """The record of the graph in the file `model`."""
    return GraphRecord(**json.loads(_beside(model).read_text()))


def write_record(model: Path, record: GraphRecord) -> None:
    """Put `record` beside the file `model`."""
    write_atomically(_beside(model), json.dumps(asdict(record), indent=2).encode() + b"\n")


def _beside(model: Path) -> Path:
    return model.with_suffix(".json")
