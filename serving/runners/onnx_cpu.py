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
_LARGE_BYTES = 128 * 2**20
"""Of weights: from here on a run is long enough to ask the system for its memory, and gives it back when it is done.
Smaller graphs keep theirs in an arena: asking for it would be a tenth of a run."""


def cpu_options(threads: int = 0, *, packed: bool = False, large: bool = False) -> ort.SessionOptions:
    """The session options of every graph on the CPU; `threads` 0 = all cores.

    What is `packed` is optimised already; what is `large` keeps no memory between two runs.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_DISABLE_ALL if packed else level.ORT_ENABLE_ALL
    # a plan of the memory for every shape met, beside what the arena holds: twice the activations, and no quicker
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = not large
    for name, value in SESSION_OPTIONS.items():
        options.add_session_config_entry(name, value)
    return options


class OnnxCpuRunner:
    """ONNX Runtime on the CPU; the weights' file is memory-mapped.

    Args:
        path: of the ONNX file.
        threads: of one run; 0 = all cores.
        packed: the graph was optimised, and its weights packed, ahead of time (`export/packing.py`).

    Raises:
        GraphError: ONNX Runtime cannot read the graph.
    """

    def __init__(self, path: Path, threads: int = 0, *, packed: bool = False) -> None:
        try:
            options = cpu_options(threads, packed=packed, large=_weight_bytes(path) > _LARGE_BYTES)
            self._session = ort.InferenceSession(str(path), options, providers=[_PROVIDER])
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


def _weight_bytes(path: Path) -> int:
    """Of the weight files beside a graph: its own, or that of all packed graphs."""
    return sum(file.stat().st_size for pattern in ("*.data", "*.bin") for file in path.parent.glob(pattern))
