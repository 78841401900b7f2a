"""TensorRT: engines built by `vico export --target tensorrt`. Not run on a GPU yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import GraphError
from serving.runners.runner import Feeds, Real, Results, to_results, to_width
from serving.runners.tensorrt_device import first_device
from vico.concept.engine import EngineRecord, read_engine_record
from vico.concept.graphset import GraphName

_EXPORT = "`vico export --target tensorrt` on this machine"


class LoadedEngine(Protocol):
    """An engine in device memory."""

    def run(self, profile: int, feeds: Feeds, kept: Mapping[str, Any]) -> Feeds:
        """Run with host arrays `feeds` and device buffers `kept`; outputs by name."""

    def hold(self, array: npt.NDArray[Any], into: Any = None) -> Any:
        """A device buffer with the content of `array`; `into` is written again in place."""


class Device(Protocol):
    """The runtime and the device beneath: all of this file that needs a GPU."""

    version: str
    """Of the TensorRT runtime."""
    capability: str
    """Compute capability, like `8.6`."""

    def load(self, content: bytes) -> LoadedEngine:
        """Deserialise an engine."""


class TensorRTRunner:
    """One engine with its optimisation profiles.

    Args:
        path: of the engine; its record lies beside it.
        name: of the graph, for errors.
        device: opened if not given.

    Raises:
        GraphError: there is no device or no TensorRT, or the engine is stale: of another version, for another device.
    """

    dtype: Real = np.float16

    def __init__(self, path: Path, name: GraphName, device: Device | None = None) -> None:
        try:
            self._record: EngineRecord = read_engine_record(path)
        except (FileNotFoundError, TypeError, ValueError):
            raise GraphError("graphs", f"the engine of {name!r} has no record", _EXPORT) from None
        if self._record.graph_name != name:
            raise GraphError("graphs", f"the engine is of {self._record.graph_name!r}, not of {name!r}", _EXPORT)
        device = device or first_device()
        if (problem := self._record.stale(device.version, device.capability)) is not None:
            raise GraphError("graphs", f"the engine of {name!r} is stale: it {problem}", _EXPORT)
        self._engine = device.load(path.read_bytes())
        self._alone = Lock()
        self._kept: dict[str, Any] = {}
        self._kept_from: Feeds = {}
        self._version: Callable[[], int] = lambda: 0
        self._held_version = 0

    def keep(self, arrays: Feeds, version: Callable[[], int]) -> None:
        """See `KeepsInputs`."""
        self._kept_from, self._version, self._held_version = arrays, version, version()
        self._kept = {name: self._engine.hold(array) for name, array in to_width(arrays, self.dtype).items()}

    def run(self, feeds: Feeds) -> Results:
        """See `Runner`.

        Raises:
            GraphError: no optimisation profile holds the shapes.
        """
        shapes = {name: array.shape for name, array in feeds.items()}
        profile = self._record.profile_for(shapes)
        if profile is None:
            raise GraphError("graphs", f"no profile of the engine {self._record.graph_name!r} holds {shapes}", _EXPORT)
        given = to_width({name: array for name, array in feeds.items() if name not in self._kept}, self.dtype)
        # a context has one set of addresses
        with self._alone:
            self._refresh()
            outputs = self._engine.run(profile, given, self._kept)
        return to_results(outputs.keys(), outputs.values())

    def _refresh(self) -> None:
        """Copy the kept inputs again, in place, if they changed on the host."""
        if (version := self._version()) != self._held_version:
            for name, array in to_width(self._kept_from, self.dtype).items():
                self._engine.hold(array, into=self._kept[name])
            self._held_version = version
