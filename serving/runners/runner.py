"""What a runner is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Feeds = Mapping[str, npt.NDArray[Any]]
Results = dict[str, npt.NDArray[Any]]
Real = type[np.float16] | type[np.float32]


class Runner(Protocol):
    """One graph, ready to run, from any thread. Inputs and outputs are named and shaped as in the graph table of the
    architecture.
    """

    def run(self, feeds: Feeds) -> Results:
        """Run the graph once; every output by name, real ones in float32."""


@runtime_checkable
class KeepsInputs(Protocol):
    """A runner with memory of its own, where large inputs may stay between runs."""

    def keep(self, arrays: Feeds, version: Callable[[], int]) -> None:
        """Hold `arrays` on the device and feed them to every run; they are copied again when `version()` changes."""


def to_width(feeds: Feeds, dtype: npt.DTypeLike) -> Feeds:
    """Every real input in the width that the graph takes; integers as they are."""
    wanted = np.dtype(dtype)
    return {
        name: array.astype(wanted, copy=False) if array.dtype.kind == "f" else array for name, array in feeds.items()
    }


def to_results(names: Iterable[str], arrays: Iterable[npt.NDArray[Any]]) -> Results:
    """Outputs by name, float16 widened."""
    pairs = zip(names, arrays, strict=True)
    return {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in pairs}
