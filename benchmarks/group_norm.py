"""`GroupNormalization` as ONNX Runtime's CPU spells it out, against `export/targets/group_norm.py`: side by side.

`python -m benchmarks.group_norm [--rounds N] [--threads N]` prints milliseconds of both and their ratio, for shapes of
the toy base and of Stable Diffusion 1.5. Both take turns; medians.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Annotated, Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import typer
from onnx import TensorProto, helper, numpy_helper

from export.targets.group_norm import use_instance_norm
from serving.runners.onnx_cpu import cpu_options

SHAPES = ((2, 64, 16, 16), (16, 64, 16, 16), (16, 128, 8, 8), (2, 320, 64, 64), (2, 960, 64, 64), (1, 256, 512, 512))
"""Rows, channels, height, width."""
GROUPS = 32


def main(rounds: Annotated[int, typer.Option(min=1)] = 15, threads: Annotated[int, typer.Option(min=0)] = 0) -> None:
    """Print one line per shape."""
    print(f"{'rows, channels, sides':>22}   spelt out   rewritten   ratio")
    for shape in SHAPES:
        models = _norm(shape[1]), _norm(shape[1])
        use_instance_norm(models[1])
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        sessions = [_open(model, threads) for model in models]
        for session in sessions:
            session.run(None, {"x": x})
        seconds: list[list[float]] = [[], []]
        for _ in range(rounds):
            for taken, session in zip(seconds, sessions, strict=True):
                begin = time.perf_counter()
                session.run(None, {"x": x})
                taken.append(time.perf_counter() - begin)
        before, after = (1e3 * median(taken) for taken in seconds)
        print(f"{shape!s:>22}   {before:9.2f}   {after:9.2f}   {after / before:5.2f}", flush=True)


def _norm(channels: int) -> Any:
    """One norm of a picture [b, channels, h, w]."""
    shape = ["b", channels, "h", "w"]
    random = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(random.standard_normal(channels).astype(np.float32), name) for name in ("scale", "bias")
    ]
    node = helper.make_node("GroupNormalization", ["x", "scale", "bias"], ["y"], num_groups=GROUPS)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y"))
    graph = helper.make_graph([node], "norm", [x], [y], weights)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10))


def _open(model: Any, threads: int) -> Any:
    content = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(content, cpu_options(threads), providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    typer.run(main)
