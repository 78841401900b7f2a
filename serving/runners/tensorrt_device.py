"""The device calls of `serving.runners.tensorrt`, and nothing else. Not run on a GPU yet."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import GraphError
from serving.runners.runner import Feeds


@cache
def libraries() -> tuple[Any, Any]:
    """TensorRT and CUDA's runtime; imported late, since a server without a GPU has neither.

    Raises:
        GraphError: one of them is not installed.
    """
    try:
        return importlib.import_module("tensorrt"), importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise GraphError("provider", f"'tensorrt' needs {error.name}, which is absent", "cpu, cuda") from None


class Buffer:
    """Device memory that belongs to this object."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        _, self._cuda = libraries()
        (self.address,) = _checked(self._cuda.cudaMalloc(max(size_bytes, 1)))

    def __del__(self) -> None:
        self._cuda.cudaFree(self.address)


class Gpu:
    """The first GPU."""

    def __init__(self) -> None:
        trt, cuda = libraries()
        (properties,) = _checked(cuda.cudaGetDeviceProperties(0))
        self.version: str = trt.__version__
        self.capability = f"{properties.major}.{properties.minor}"
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))

    def load(self, content: bytes) -> GpuEngine:
        """See `Device`."""
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise GraphError("graphs", "TensorRT refuses an engine", "`vico export --target tensorrt` on this machine")
        return GpuEngine(engine)


class GpuEngine:
    """An engine with one context per optimisation profile; runs one after another on a stream of its own."""

    def __init__(self, engine: Any) -> None:
        trt, cuda = libraries()
        self._trt, self._cuda = trt, cuda
        self._engine = engine
        (self._stream,) = _checked(cuda.cudaStreamCreate())
        self._contexts: dict[int, Any] = {}
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]

    def hold(self, array: npt.NDArray[Any], into: Any = None) -> tuple[Buffer, tuple[int, ...]]:
        """See `LoadedEngine`."""
        array = np.ascontiguousarray(array)
        buffer = into[0] if into is not None else Buffer(array.nbytes)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        _checked(self._cuda.cudaMemcpy(buffer.address, array.ctypes.data, array.nbytes, kind))
        return buffer, array.shape

    def run(self, profile: int, feeds: Feeds, kept: Mapping[str, Any]) -> Feeds:
        """See `LoadedEngine`."""
        context = self._context(profile)
        inputs = {name: self.hold(array) for name, array in feeds.items()} | dict(kept)
        for name, (buffer, shape) in inputs.items():
            context.set_input_shape(name, shape)
            context.set_tensor_address(name, buffer.address)
        arrays = {name: self._room(context, name) for name in self._outputs}
        buffers = {name: Buffer(array.nbytes) for name, array in arrays.items()}
        for name, buffer in buffers.items():
            context.set_tensor_address(name, buffer.address)
        if not context.execute_async_v3(self._stream):
            raise RuntimeError("the engine did not run")
        _checked(self._cuda.cudaStreamSynchronize(self._stream))
        for name, array in arrays.items():
            kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
            _checked(self._cuda.cudaMemcpy(array.ctypes.data, buffers[name].address, array.nbytes, kind))
        return arrays

    def _context(self, profile: int) -> Any:
        if profile not in self._contexts:
            context = self._engine.create_execution_context()
            context.set_optimization_profile_async(profile, self._stream)
            self._contexts[profile] = context
        return self._contexts[profile]

    def _room(self, context: Any, name: str) -> npt.NDArray[Any]:
        dtype = self._trt.nptype(self._engine.get_tensor_dtype(name))
        return np.empty(tuple(context.get_tensor_shape(name)), dtype)


def first_device() -> Gpu:
    """The first GPU.

    Raises:
        GraphError: there is none, or TensorRT is not installed.
    """
    _, cuda = libraries()
    error, *counts = cuda.cudaGetDeviceCount()
    if error != cuda.cudaError_t.cudaSuccess or not any(counts):
        raise GraphError("provider", "'tensorrt' finds no GPU here", "cpu")
    return Gpu()


def _checked(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a CUDA call.

    Raises:
        RuntimeError: the call failed.
    """
    error, *values = result
    _, cuda = libraries()
    if error != cuda.cudaError_t.cudaSuccess:
        raise RuntimeError(f"CUDA: {error}")
    return tuple(values)
