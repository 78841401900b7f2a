"""A runner executes one graph on one device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from serving.config import ServingConfig
from serving.errors import GraphError
from vico.concept import GraphSet
from vico.concept.graphset import GraphName

Feeds = Mapping[str, npt.NDArray[Any]]
Results = dict[str, npt.NDArray[Any]]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Runner(Protocol):
    """One graph, ready to run. Inputs and outputs are named and shaped as in the graph table of the architecture."""

    def run(self, feeds: Feeds) -> Results:
        """Run the graph once; every output by name."""


class OrtRunner:
    """ONNX Runtime.

    On a GPU (`provider="cuda"`; written, not yet run on one) inputs still come from host memory at every run: binding
    the bank on the device is for the session that has a device.

    Args:
        path: of the ONNX file.
        provider: "cpu" or "cuda".
        threads: of one run; 0 = all cores.

    Raises:
        GraphError: the provider is unknown, or ONNX Runtime fell back to another.
    """

    def __init__(self, path: Path, provider: str = "cpu", threads: int = 0) -> None:
        if provider not in PROVIDERS:
            raise GraphError("provider", f"unknown provider {provider!r}", ", ".join(PROVIDERS))
        wanted, available = PROVIDERS[provider], ort.get_available_providers()
        # ONNX Runtime would drop an unavailable provider with no more than a log line
        if wanted not in available:
            raise GraphError("provider", f"{provider!r} is not available here", ", ".join(available))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # several serving processes share the cores: a spinning thread takes them from whoever has work
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(path), options, providers=[wanted])
        if wanted not in self._session.get_providers():
            raise GraphError("provider", f"{provider!r} does not start", "a device whose driver and libraries match")
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._float16 = any(value.type == "tensor(float16)" for value in self._session.get_inputs())

    @property
    def dtype(self) -> type[np.float16] | type[np.float32]:
        """Element type of the graph's real inputs."""
        return np.float16 if self._float16 else np.float32

    def run(self, feeds: Feeds) -> Results:
        """Run the graph once; float inputs of the other width are converted, float outputs are float32."""
        wanted = np.dtype(self.dtype)
        converted = {
            name: array.astype(wanted) if array.dtype.kind == "f" and array.dtype != wanted else array
            for name, array in feeds.items()
        }
        results = self._session.run(self._outputs, converted)
        return {
            name: array.astype(np.float32) if array.dtype == np.float16 else array
            for name, array in zip(self._outputs, results, strict=True)
        }


def open_runner(config: ServingConfig, graphset: GraphSet, name: GraphName) -> OrtRunner:
    """The runner of one graph of the set.

    Raises:
        GraphError: the set does not hold the graph, or its file is absent.
    """
    spec = graphset.graphs.get(name)
    path = config.graphs / spec.file if spec else None
    if path is None or not path.is_file():
        raise GraphError("graphs", f"the graph {name!r} is absent", "a folder made by `vico export`")
    return OrtRunner(path, config.provider, config.threads)
