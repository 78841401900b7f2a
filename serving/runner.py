"""The runner of one graph of the set, on the device that the config names."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from serving.config import ServingConfig
from serving.errors import GraphError
from serving.runners.onnx_cpu import OnnxCpuRunner
from serving.runners.onnx_cuda import OnnxCudaRunner
from serving.runners.runner import Feeds, KeepsInputs, Real, Results, Runner
from serving.runners.tensorrt import TensorRTRunner
from vico.concept import GraphSet
from vico.concept.graphset import GraphName, TargetName

__all__ = ["TARGETS", "Feeds", "KeepsInputs", "OpenRunner", "Results", "Runner", "open_runner"]

# in order of preference
TARGETS: dict[str, tuple[TargetName, ...]] = {
    "cpu": ("onnx",),
    "cuda": ("onnx-fp16", "onnx-bf16"),
    "tensorrt": ("tensorrt",),
}


class OpenRunner(Runner, Protocol):
    """A runner that tells the width of its inputs."""

    @property
    def dtype(self) -> Real:
        """Element type of the graph's real inputs."""


def open_runner(config: ServingConfig, graphset: GraphSet, name: GraphName) -> OpenRunner:
    """The runner of one graph of the set.

    Raises:
        GraphError: the provider is unknown; the set does not hold the graph for it, or its file is absent; the device
            is absent, or another than the graph was built for.
    """
    wanted = TARGETS.get(config.provider)
    if wanted is None:
        raise GraphError("provider", f"unknown provider {config.provider!r}", ", ".join(TARGETS))
    path = _file(config.graphs, graphset, name, wanted)
    match config.provider:
        case "cuda":
            return OnnxCudaRunner(path)
        case "tensorrt":
            return TensorRTRunner(path, name)
        case _:
            return OnnxCpuRunner(path, config.threads)


def _file(folder: Path, graphset: GraphSet, name: GraphName, targets: tuple[TargetName, ...]) -> Path:
    for target in targets:
        spec = graphset.spec(name, target)
        if spec is not None and (folder / spec.file).is_file():
            return folder / spec.file
    raise GraphError("graphs", f"the graph {name!r} is absent", f"a folder made by `vico export --target {targets[0]}`")
