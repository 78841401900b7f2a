"""float32 graph → float16 or bfloat16, with float32 where half precision would be wrong.

float32 stays: what leads to a sine (a timestep of 999 has a rounding error of half a step in float16, whole radians of
its fastest frequency), and what follows a sine or an explicit softmax up to the next matrix product (the embedding, the
mask). `GroupNormalization` and `LayerNormalization` compute in float32 inside by their own attribute. `Attention` has
one too, but TensorRT refuses a graph that sets it; every flash kernel keeps its softmax in float32 as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from export.errors import GraphError

_PRODUCTS = {"MatMul", "Gemm", "Conv", "Attention"}
_WAVES = {"Sin", "Cos"}
# inputs that the operator wants in float32 whatever its data are
_ALWAYS_FLOAT = {("Resize", 1), ("Resize", 2)}
_FLOAT = ir.DataType.FLOAT


def use_half(model: ir.Model, width: ir.DataType, *, float_io: bool) -> int:
    """Convert `model` in place; returns how many nodes stay float32.

    Args:
        model: float32, as exported.
        width: FLOAT16 or BFLOAT16.
        float_io: inputs and outputs stay float32 (numpy has no bfloat16).

    Raises:
        GraphError: a weight does not fit into `width`.
    """
    graph = model.graph
    kept = _kept_nodes(graph)
    if float_io:
        # gather first, cast after: a cast of the whole bank would cost as much as the bank is wide
        kept |= {node for node in graph if node.op_type == "Gather" and _is_input(node.inputs[0])}
    nodes = list(graph)
    for value in [] if float_io else graph.inputs:
        _retype(value, width)
    for node in nodes:
        if node not in kept:
            _halve_node(node, width)
    for initializer in list(graph.initializers.values()):
        _halve_weight(graph, initializer, kept, width)
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in nodes:
        _match_inputs(graph, node, _FLOAT if node in kept else width, casts)
    _match_outputs(graph, _FLOAT if float_io else width)
    return len(kept)


def _kept_nodes(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that stay float32, by the rule at the top of this file."""
    waves = [node for node in graph if node.op_type in _WAVES]
    kept = _closure(waves, _producers)
    return kept | _closure([*waves, *(node for node in graph if node.op_type == "Softmax")], _readers)


def _closure(seeds: Iterable[ir.Node], step: object) -> set[ir.Node]:
    assert callable(step)
    found: set[ir.Node] = set()
    waiting = list(seeds)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += step(node)
    return found


def _producers(node: ir.Node) -> list[ir.Node]:
    made = (value.producer() for value in node.inputs if value is not None and value.dtype == _FLOAT)
    return [producer for producer in made if producer is not None]


def _readers(node: ir.Node) -> list[ir.Node]:
    return [user for value in node.outputs for user, _ in value.uses() if user.op_type not in _PRODUCTS]


def _halve_node(node: ir.Node, width: ir.DataType) -> None:
    if node.op_type == "Cast" and node.attributes["to"].as_int() == _FLOAT:
        node.attributes["to"] = ir.AttrInt64("to", int(width))
    for value in node.outputs:
        _retype(value, width)


def _retype(value: ir.Value, width: ir.DataType) -> None:
    if value.dtype == _FLOAT:
        value.dtype = width


def _halve_weight(graph: ir.Graph, weight: ir.Value, kept: set[ir.Node], width: ir.DataType) -> None:
    """Give the half nodes a half copy; the float32 one stays only where something reads it."""
    if weight.dtype != _FLOAT or weight.const_value is None:
        return
    readers = [
        (node, index)
        for node, index in weight.uses()
        if node not in kept and (node.op_type, index) not in _ALWAYS_FLOAT
    ]
    if not readers:
        return
    name = f"{weight.name}.{width.name.lower()}"
    half = ir.Value(
        name=name, shape=weight.shape, type=ir.TensorType(width), const_value=_half(weight.const_value, width, name)
    )
    graph.initializers[name] = half
    for node, index in readers:
        node.replace_input_with(index, half)
    if not tuple(weight.uses()):
        assert weight.name is not None
        del graph.initializers[weight.name]


def _half(tensor: ir.TensorProtocol, width: ir.DataType, name: str) -> ir.TensorProtocol:
    """Converted when it is written: a base's weights need not lie in memory twice."""
    dtype: npt.DTypeLike = width.numpy()

    def convert() -> ir.Tensor[npt.NDArray[Any]]:
        with np.errstate(over="ignore"):
            values = tensor.numpy().astype(dtype)
        if not np.isfinite(values.astype(np.float32)).all():
            raise GraphError(name, f"a weight does not fit into {width.name.lower()}", "another --target")
        return ir.Tensor(values, name=name)

    return ir.LazyTensor(convert, dtype=width, shape=ir.Shape(tensor.shape.numpy()), name=name)


def _match_inputs(
    graph: ir.Graph, node: ir.Node, wanted: ir.DataType, casts: dict[tuple[ir.Value, ir.DataType], ir.Value]
) -> None:
    """Cast the floats that a node reads in another width; one cast per value."""
    for index, value in enumerate(node.inputs):
        if value is None or value.dtype not in (_FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            continue
        width = _FLOAT if (node.op_type, index) in _ALWAYS_FLOAT else wanted
        # a cast reads any width, but must not lose what a half input never had
        if value.dtype == width or node.op_type == "Cast":
            continue
        if (value, width) not in casts:
            casts[value, width] = _cast(graph, value, width, before=node)
        node.replace_input_with(index, casts[value, width])


def _match_outputs(graph: ir.Graph, wanted: ir.DataType) -> None:
    for index, value in enumerate(graph.outputs):
        if value.dtype in (_FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16) and value.dtype != wanted:
            name, value.name = value.name, f"{value.name}.inner"
            cast = _cast(graph, value, wanted, before=None)
            cast.name = name
            graph.outputs[index] = cast


def _cast(graph: ir.Graph, value: ir.Value, to: ir.DataType, before: ir.Node | None) -> ir.Value:
    node = ir.node("Cast", [value], {"to": int(to)})
    node.outputs[0].shape, node.outputs[0].type = value.shape, ir.TensorType(to)
    if before is None:
        graph.append(node)
    else:
        graph.insert_before(before, node)
    return node.outputs[0]


def _is_input(value: ir.Value | None) -> bool:
    return value is not None and value.is_graph_input()
