"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from serving.errors import GraphError
from serving.runners.runner import Feeds, Real, Results, to_results, to_width

# Chosen by measurement: `python -m benchmarks.ort_options`, figures in export/README.md.
SESSION_OPTIONS = {
    # several serving processes share the cores: a spinning thread takes them from whoever has work
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
}
_PROVIDER = "CPUExecutionProvider"


def cpu_options(threads: int = 0) -> ort.SessionOptions:
    """The session options of every graph on the CPU; `threads` 0 = all cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    for name, value in SESSION_OPTIONS.items():
        options.add_session_config_entry(name, value)
    return options


class OnnxCpuRunner:
    """ONNX Runtime on the CPU; the weights' file is memory-mapped.

    Args:
        path: of the ONNX file.
        threads: of one run; 0 = all cores.

    Raises:
        GraphError: ONNX Runtime cannot read the graph.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        try:
            self._session = ort.InferenceSession(str(path), cpu_options(threads), providers=[_PROVIDER])
        except Exception as error:
            raise GraphError(
                "graphs", f"ONNX Runtime refuses a graph ({type(error).__name__})", "export again"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._float16 = any(value.type == "tensor(float16)" for value in self._session.get_inputs())

    @property
    def dtype(self) -> Real:
        """Element type of the graph's real inputs."""
        return np.float16 if self._float16 else np.float32

    def run(self, feeds: Feeds) -> Results:
        """See `Runner`."""
        arrays = self._session.run(self._outputs, to_width(feeds, self.dtype))
        return to_results(self._outputs, arrays)
