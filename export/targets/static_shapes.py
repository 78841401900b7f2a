"""Reshapes to a shape that is computed at runtime → reshapes to a constant one (0 = as before, −1 = the rest).

The exporter spells a dynamic shape out (`Shape`, `Squeeze`, `Mul`, `Concat`); where at most one size is new, ONNX's own
two placeholders say the same, and the nodes that computed it fall away.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def use_static_shapes(model: ir.Model) -> int:
    """Rewrite reshapes of `model` in place; returns how many. What computed their shapes stays until it is swept."""
    count = 0
    for node in model.graph:
        if node.op_type != "Reshape" or node.domain or node.inputs[1] is None:
            continue
        if ir.convenience.get_const_tensor(node.inputs[1]) is not None:
            continue
        sizes = _placeholders(node)
        if sizes is None:
            continue
        node.replace_input_with(1, constant_shape(model.graph, sizes))
        node.attributes.pop("allowzero", None)
        count += 1
    return count


def constant_shape(graph: ir.Graph, sizes: tuple[int, ...]) -> ir.Value:
    """An initializer that holds `sizes`, one per graph however often it is used."""
    name = "shape_" + "_".join(str(size) if size >= 0 else "rest" for size in sizes)
    if name not in graph.initializers:
        tensor = ir.tensor(np.array(sizes, np.int64), name=name)
        graph.initializers[name] = ir.Value(
            name=name, shape=ir.Shape((len(sizes),)), type=ir.TensorType(ir.DataType.INT64), const_value=tensor
        )
    return graph.initializers[name]


def _placeholders(node: ir.Node) -> tuple[int, ...] | None:
    """The output's shape as constants; None if more than one size is new, or a shape is not known."""
    source, after = node.inputs[0], node.outputs[0].shape
    before = source.shape if source is not None else None
    if before is None or after is None:
        return None
    sizes: list[int] = []
    for index, size in enumerate(after):
        if isinstance(size, int):
            # 0 would be read as a placeholder
            if size == 0:
                return None
            sizes.append(size)
        elif index < len(before) and _same(before[index], size):
            sizes.append(0)
        else:
            sizes.append(-1)
    return tuple(sizes) if sizes.count(-1) <= 1 else None


def _same(one: int | ir.SymbolicDim, other: int | ir.SymbolicDim) -> bool:
    """The same named size; two nameless ones are not known to be equal."""
    if not isinstance(one, ir.SymbolicDim) or not isinstance(other, ir.SymbolicDim):
        return False
    return one.value is not None and one.value == other.value
