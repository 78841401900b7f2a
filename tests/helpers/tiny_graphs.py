"""The graph set of the tiny base, as tests take it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from export.check import open_session
from export.inputs import Feed
from export.keys import ExportOptions
from export.modules import geometry_of
from export.pipeline import export_base
from export.signatures import Geometry, Signature, signatures
from vico.base import Base
from vico.concept import GraphSet, read_graphset
from vico.concept.graphset import GraphName, TargetName

TARGETS: tuple[TargetName, ...] = ("onnx",)


@dataclass(frozen=True)
class ExportedBase:
    """A graph set on disk, and what it was made from."""

    folder: Path
    graphset: GraphSet
    geometry: Geometry

    def path(self, name: GraphName) -> Path:
        """The ONNX file of one graph as exported."""
        return self.folder / self.graphset.graphs[name].file

    def form(self, name: GraphName, target: TargetName = "onnx") -> Path:
        """The file of one graph for a target."""
        spec = self.graphset.spec(name, target)
        assert spec is not None, f"not exported for {target}"
        return self.folder / spec.file

    def signature(self, name: GraphName) -> Signature:
        """What one graph takes and gives."""
        return signatures(self.geometry)[name]

    def session(self, name: GraphName) -> onnxruntime.InferenceSession:
        """One graph as the CPU runs it."""
        return open_session(self.form(name))


def export_unchecked(base: Base, folder: Path, *targets: TargetName) -> ExportedBase:
    """Export `base` into `folder`: half a minute for a tiny base, nothing when its graphs are there already."""
    for target in targets or TARGETS:
        export_base(base, folder, ExportOptions(), check=False, announce=lambda name, stage: None, target=target)
    return ExportedBase(folder, read_graphset(folder), geometry_of(base))


def run_graph(session: onnxruntime.InferenceSession, feed: Feed) -> list[npt.NDArray[np.float32]]:
    """All outputs of one run, in the order of the signature."""
    outputs: list[npt.NDArray[np.float32]] = session.run(None, {name: tensor.numpy() for name, tensor in feed.items()})
    return outputs
