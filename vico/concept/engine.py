"""What is known of a TensorRT engine: enough to refuse it by name before it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from vico.concept.atomic import write_atomically
from vico.concept.graphset import GraphName

Builder = Literal["tensorrt", "tensorrt-rtx"]
Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Shapes: least, best, greatest."""


@dataclass(frozen=True)
class EngineRecord:
    """Everything that an engine depends on; written beside it as `model.json`."""

    graph_name: GraphName
    graph_digest: str
    """Of the ONNX graph that it was built from."""
    builder: Builder
    version: str
    """Of the builder."""
    devices: tuple[str, ...]
    """Compute capabilities that it runs on, like `8.6`."""
    profiles: tuple[Mapping[str, Range], ...]
    """Shapes by input name; one mapping for each size class and batch range."""
    version_compatible: bool = False
    """Runs on later versions of the same major one."""

    @property
    def digest(self) -> str:
        """The engine's identity, 64 hex digits: never the path."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def stale(self, version: str, device: str) -> str | None:
        """Why the engine does not run on this `version` of its runtime and this `device`; None if it does."""
        if device not in self.devices:
            return f"was built for compute capability {', '.join(self.devices)}, this device has {device}"
        same = _major(version) == _major(self.version) if self.version_compatible else version == self.version
        return None if same else f"was built by {self.builder} {self.version}, here is {version}"

    def profile_for(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """The first profile that holds all `shapes`; None if none does."""
        for index, profile in enumerate(self.profiles):
            if all(_within(shape, profile.get(name)) for name, shape in shapes.items()):
                return index
        return None


def write_engine_record(engine: Path, record: EngineRecord) -> None:
    """Put `record` beside the file `engine`."""
    write_atomically(engine.with_suffix(".json"), json.dumps(asdict(record), indent=2).encode() + b"\n")


def read_engine_record(engine: Path) -> EngineRecord:
    """The record of the file `engine`.

    Raises:
        FileNotFoundError: it has none.
    """
    fields = json.loads(engine.with_suffix(".json").read_text())
    fields["devices"] = tuple(fields["devices"])
    fields["profiles"] = tuple(
        {name: tuple(tuple(shape) for shape in shapes) for name, shapes in profile.items()}
        for profile in fields["profiles"]
    )
    return EngineRecord(**fields)


def _within(shape: tuple[int, ...], allowed: Range | None) -> bool:
    """An input that no profile names has one static shape, which the engine itself checks."""
    if allowed is None:
        return True
    least, _, greatest = allowed
    return len(shape) == len(least) and all(
        low <= n <= high for low, n, high in zip(least, shape, greatest, strict=True)
    )


def _major(version: str) -> str:
    return version.split(".", 1)[0]
