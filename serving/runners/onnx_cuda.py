"""ONNX Runtime on an NVIDIA GPU: inputs bound on the device, the bank resident there. Not run on a GPU yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from serving.errors import GraphError
from serving.runners.runner import Feeds, Real, Results, to_results, to_width

_PROVIDER = "CUDAExecutionProvider"
_DEVICE = "cuda"
_NO_CAPTURE = "-1"
_MAX_GRAPHS = 16
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class _Buffers:
    """Inputs and outputs of one set of shapes, at addresses that stay: what a CUDA graph asks for."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    graph_id: int


class OnnxCudaRunner:
    """ONNX Runtime with its CUDA provider.

    Shapes that come back are run from a CUDA graph: the first run finds the shapes of the outputs, the second is
    captured, later ones are replayed. Inputs given to `keep` are copied to the device once.

    Args:
        path: of the ONNX file.
        cuda_graphs: capture; off for a graph whose shapes never come back.

    Raises:
        GraphError: the CUDA provider is not there, or ONNX Runtime fell back to another.
    """

    def __init__(self, path: Path, cuda_graphs: bool = True) -> None:
        available = ort.get_available_providers()
        # ONNX Runtime would drop an unavailable provider with no more than a log line
        if _PROVIDER not in available:
            raise GraphError("provider", "'cuda' is not available here", ", ".join(available))
        provider = (_PROVIDER, {"enable_cuda_graph": "1" if cuda_graphs else "0"})
        self._session = ort.InferenceSession(str(path), ort.SessionOptions(), providers=[provider])
        if self._session.get_providers()[:1] != [_PROVIDER]:
            raise GraphError("provider", "'cuda' does not start", "a device whose driver and libraries match")
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._float16 = any(value.type == "tensor(float16)" for value in self._session.get_inputs())
        self._cuda_graphs = cuda_graphs
        self._buffers: OrderedDict[_Shapes, _Buffers] = OrderedDict()
        self._captured = 0
        self._alone = Lock()
        self._kept: dict[str, Any] = {}
        self._kept_from: Feeds = {}
        self._version: Callable[[], int] = lambda: 0
        self._held_version = 0

    @property
    def dtype(self) -> Real:
        """Element type of the graph's real inputs."""
        return np.float16 if self._float16 else np.float32

    def keep(self, arrays: Feeds, version: Callable[[], int]) -> None:
        """See `KeepsInputs`."""
        self._kept_from, self._version, self._held_version = arrays, version, version()
        self._kept = {name: _on_device(array) for name, array in to_width(arrays, self.dtype).items()}
        # addresses that a captured graph reads are gone
        self._buffers.clear()

    def run(self, feeds: Feeds) -> Results:
        """See `Runner`."""
        # the buffers of a captured graph are one set for each shape
        with self._alone:
            return self._run_alone(feeds)

    def _run_alone(self, feeds: Feeds) -> Results:
        self._refresh()
        given = to_width({name: array for name, array in feeds.items() if name not in self._kept}, self.dtype)
        shapes = tuple((name, array.shape) for name, array in sorted(given.items()))
        buffers = self._buffers.get(shapes)
        if buffers is None or not self._cuda_graphs:
            return self._first(given, shapes)
        self._buffers.move_to_end(shapes)
        for name, array in given.items():
            buffers.inputs[name].update_inplace(np.ascontiguousarray(array))
        self._run_bound(buffers.inputs, buffers.outputs, str(buffers.graph_id))
        return self._results(buffers.outputs)

    def _first(self, given: Feeds, shapes: _Shapes) -> Results:
        """Run with outputs wherever ONNX Runtime puts them, then set places aside for the next time."""
        inputs = {name: _on_device(array) for name, array in given.items()}
        outputs = self._run_bound(inputs, None, _NO_CAPTURE)
        if self._cuda_graphs:
            while len(self._buffers) >= _MAX_GRAPHS:
                self._buffers.popitem(last=False)
            self._captured += 1
            self._buffers[shapes] = _Buffers(inputs, outputs, self._captured)
        return self._results(outputs)

    def _run_bound(self, inputs: dict[str, Any], outputs: dict[str, Any] | None, graph_id: str) -> dict[str, Any]:
        binding = self._session.io_binding()
        for name, value in {**inputs, **self._kept}.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            if outputs is None:
                binding.bind_output(name, _DEVICE)
            else:
                binding.bind_ortvalue_output(name, outputs[name])
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", graph_id)
        self._session.run_with_iobinding(binding, options)
        return outputs or dict(zip(self._outputs, binding.get_outputs(), strict=True))

    def _refresh(self) -> None:
        """Copy the kept inputs again, in place, if they changed on the host."""
        if (version := self._version()) != self._held_version:
            for name, array in to_width(self._kept_from, self.dtype).items():
                self._kept[name].update_inplace(array)
            self._held_version = version

    def _results(self, outputs: dict[str, Any]) -> Results:
        return to_results(self._outputs, (outputs[name].numpy() for name in self._outputs))


def _on_device(array: npt.NDArray[Any]) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), _DEVICE, 0)
