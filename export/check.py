"""Hold every exported graph against torch, in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from rich.table import Table

from export.cases import Case
from export.errors import ParityError
from export.signatures import Signature

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Deviation:
    """How far a graph is from torch in one case."""

    graph: str
    case: str
    rows: int
    error: float
    """Greatest absolute difference over all outputs but masks, each divided by its greatest value if above 1."""
    mask_error: float
    """Greatest share of patches in which a mask differs."""
    greatest: float
    """Greatest absolute value that torch gives."""


@dataclass(frozen=True)
class Tolerance:
    """How far a graph may be from torch in float32."""

    error: float
    masks: float
    """A mask is a threshold: rounding may move a patch that sits on it."""

    def holds(self, deviation: Deviation) -> bool:
        """Within tolerance; not-a-number is not."""
        return deviation.error <= self.error and deviation.mask_error <= self.masks


FLOAT = Tolerance(1e-4, 0.01)
# eleven bits of mantissa through some hundred layers
HALF = Tolerance(2e-2, 0.05)


def open_session(model: Path, *, packed: bool = False) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU that yields its cores while it waits; `packed` as `export.packing` left it."""
    options = onnxruntime.SessionOptions()
    if packed:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_graph(
    model: Path, signature: Signature, cases: Iterable[Case], tolerance: Tolerance = FLOAT, *, packed: bool = False
) -> tuple[Deviation, ...]:
    """Run the graph in the file `model` through `cases`.

    Raises:
        ParityError: names the graph and the case that is worst, if any is out of tolerance.
    """
    session = open_session(model, packed=packed)
    deviations = tuple(_deviation(session, signature, case) for case in cases)
    failed = [deviation for deviation in deviations if not tolerance.holds(deviation)]
    if failed:
        worst = max(failed, key=lambda deviation: (np.isnan(deviation.error), deviation.error))
        raise ParityError(
            signature.name,
            f"in the case '{worst.case}' it is {worst.error:.1e} off torch, masks {worst.mask_error:.1%}",
            f"at most {tolerance.error:.0e}, masks {tolerance.masks:.0%}",
        )
    return deviations


def deviation_table(deviations: Iterable[Deviation]) -> Table:
    """One line per case."""
    table = Table("graph", "case", "rows", "max error", "masks", "greatest value", title="ONNX Runtime against torch")
    for deviation in deviations:
        table.add_row(
            deviation.graph,
            deviation.case,
            str(deviation.rows),
            f"{deviation.error:.1e}",
            f"{deviation.mask_error:.1%}",
            f"{deviation.greatest:.2f}",
        )
    return table


def _deviation(session: onnxruntime.InferenceSession, signature: Signature, case: Case) -> Deviation:
    names = [value.name for value in signature.outputs]
    halves = {value.name for value in session.get_inputs() if value.type == "tensor(float16)"}
    feed = {name: tensor.numpy() for name, tensor in case.feed.items()}
    outputs = session.run(names, {n: array.astype(np.float16) if n in halves else array for n, array in feed.items()})
    errors, mask_errors, greatest = [0.0], [0.0], [0.0]
    for value, output, tensor in zip(signature.outputs, outputs, case.expected, strict=True):
        expected = tensor.numpy()
        if value.kind == "share":
            mask_errors.append(float(np.mean(output != expected)))
        else:
            errors.append(_error(output, expected))
            greatest.append(float(np.abs(expected).max()))
    rows = next(iter(case.feed.values())).shape[0]
    return Deviation(signature.name, case.label, rows, _worst(errors), _worst(mask_errors), _worst(greatest))


def _error(output: Array, expected: Array) -> float:
    if output.shape != expected.shape:
        return float("inf")
    return float(np.abs(output - expected).max() / max(1.0, float(np.abs(expected).max())))


def _worst(values: list[float]) -> float:
    """The maximum, where not-a-number counts as the worst."""
    return float(np.max(values))
