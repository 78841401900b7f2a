"""The runner of one graph of the set, on the device that the config names."""

from __future__ import annotations

from typing import Protocol

from serving.config import ServingConfig
from serving.frozen import require_unchanged
from serving.runners.onnx_cpu import OnnxCpuRunner
from serving.runners.onnx_cuda import OnnxCudaRunner
from serving.runners.runner import Feeds, KeepsInputs, Real, Results, Runner
from serving.runners.tensorrt import TensorRTRunner
from serving.targets import TARGETS, graph_file, packed_file
from vico.concept import GraphSet
from vico.concept.graphset import GraphName

__all__ = ["TARGETS", "Feeds", "KeepsInputs", "OpenRunner", "Results", "Runner", "open_runner"]


class OpenRunner(Runner, Protocol):
    """A runner that tells the width of its inputs."""

    @property
    def dtype(self) -> Real:
        """Element type of the graph's real inputs."""


def open_runner(config: ServingConfig, graphset: GraphSet, name: GraphName) -> OpenRunner:
    """The runner of one graph of the set.

    Raises:
        GraphError: the provider is unknown; the set does not hold the graph for it, or its file is absent; the device
            is absent, or another than the graph was built for; the file was written to since the server began.
    """
    path = graph_file(config, graphset, name)
    require_unchanged(config.graphs, path)
    match config.provider:
        case "cuda":
            return OnnxCudaRunner(path)
        case "tensorrt":
            return TensorRTRunner(path, name)
        case _:
            packed = path == packed_file(config, graphset, name)
            return OnnxCpuRunner(path, config.threads, packed=packed)
