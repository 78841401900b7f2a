"""Does weight-only int8 pay on this CPU? `python -m benchmarks.weight_only`: single layers of SD-1.5 in ONNX Runtime.

A step multiplies thousands of rows by each weight: it is bound by arithmetic, not by reading weights. Weights that are
widened before the product can only lose; the product of int8 (accuracy level 4) must win by its own speed.
"""

from __future__ import annotations

import json as json_module
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import typer
from onnx import TensorProto, helper, numpy_helper

from serving.runners.onnx_cpu import cpu_options

Array = npt.NDArray[Any]
BLOCK = 32


@dataclass(frozen=True)
class Layer:
    """A linear layer: [rows, inputs] through [inputs, outputs]."""

    name: str
    rows: int
    inputs: int
    outputs: int


# feed-forward and attention projections of the U-Net at 512 x 512, two rows of the batch
LAYERS = (
    Layer("64x64 feed-forward", 2 * 4096, 320, 2560),
    Layer("32x32 feed-forward", 2 * 1024, 640, 5120),
    Layer("16x16 feed-forward", 2 * 256, 1280, 10240),
    Layer("8x8 feed-forward", 2 * 64, 1280, 10240),
)


def float_model(layer: Layer, weight: Array) -> onnx.ModelProto:
    """What is served: a product with a constant."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return _model(layer, [node], [numpy_helper.from_array(weight, "w")])


def dequantised_model(layer: Layer, weight: Array) -> onnx.ModelProto:
    """int8 weights by column, widened in the graph (QDQ)."""
    scale = np.abs(weight).max(axis=0) / 127
    constants = {
        "q": np.clip(np.round(weight / scale), -127, 127).astype(np.int8),
        "s": scale.astype(np.float32),
        "z": np.zeros(layer.outputs, np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    return _model(layer, nodes, [numpy_helper.from_array(array, name) for name, array in constants.items()])


def blocked_model(layer: Layer, weight: Array, accuracy_level: int) -> onnx.ModelProto:
    """com.microsoft.MatMulNBits of 8 bits; accuracy level 4 also takes the inputs to int8, 0 keeps them."""
    blocks = weight.T.reshape(layer.outputs, layer.inputs // BLOCK, BLOCK)
    scale = np.abs(blocks).max(axis=2) / 127
    quantised = np.clip(np.round(blocks / scale[..., None]) + 128, 0, 255).astype(np.uint8)
    constants = [
        numpy_helper.from_array(quantised, "q"),
        numpy_helper.from_array(scale.astype(np.float32).ravel(), "s"),
    ]
    node = helper.make_node(
        "MatMulNBits", ["x", "q", "s"], ["y"], domain="com.microsoft", K=layer.inputs, N=layer.outputs, bits=8,
        block_size=BLOCK, accuracy_level=accuracy_level,
    )  # fmt: skip
    return _model(layer, [node], constants)


FORMS: Mapping[str, Callable[[Layer, Array], onnx.ModelProto]] = {
    "float32": float_model,
    "int8, dequantised": dequantised_model,
    "int8 MatMulNBits, float inputs": lambda layer, weight: blocked_model(layer, weight, 0),
    "int8 MatMulNBits, int8 inputs": lambda layer, weight: blocked_model(layer, weight, 4),
}


def measure(layer: Layer, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """CPU time of every form over float32's, taken in turns, and the greatest error over the greatest output."""
    random = np.random.default_rng(0)
    weight = (random.standard_normal((layer.inputs, layer.outputs)) / layer.inputs**0.5).astype(np.float32)
    feeds = {"x": random.standard_normal((layer.rows, layer.inputs)).astype(np.float32)}
    sessions = {name: _session(form(layer, weight), threads) for name, form in FORMS.items()}
    outputs = {name: session.run(None, feeds)[0] for name, session in sessions.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            start = time.process_time()
            session.run(None, feeds)
            seconds[name].append(time.process_time() - start)
    exact = outputs["float32"]
    return {
        name: {
            "time_over_float32": median(s / f for s, f in zip(taken, seconds["float32"], strict=True)),
            "error": float(np.abs(outputs[name] - exact).max() / np.abs(exact).max()),
        }
        for name, taken in seconds.items()
    }


def _session(model: onnx.ModelProto, threads: int) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), cpu_options(threads), providers=["CPUExecutionProvider"])


def _model(layer: Layer, nodes: list[Any], constants: list[Any]) -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [layer.rows, width])
        for name, width in (("x", layer.inputs), ("y", layer.outputs))
    ]
    graph = helper.make_graph(nodes, "layer", values[:1], values[1:], constants)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    threads: Annotated[int, typer.Option(min=0, help="0 = all cores.")] = 0,
    json: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure single layers, in turns, and print a table."""
    found = {layer.name: measure(layer, rounds, threads) for layer in LAYERS}
    typer.echo("| layer | form | CPU time over float32 | error |\n|---|---|---|---|")
    for layer, forms in found.items():
        for form, figures in forms.items():
            typer.echo(f"| {layer} | {form} | {figures['time_over_float32']:.2f} | {figures['error']:.1e} |")
    if json is not None:
        json.write_text(json_module.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
