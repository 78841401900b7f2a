"""`GroupNormalization` → `InstanceNormalization` over the groups, for which ONNX Runtime's CPU has a kernel.

Without one it spells the normalisation out in a dozen passes over the picture, each with a tensor of its own: by whole
runs of the graphs (`python -m benchmarks.group_norm`) slower, and more memory.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import GraphError
from export.targets.static_shapes import constant_shape


def use_instance_norm(model: ir.Model) -> int:
    """Rewrite every `GroupNormalization` of `model` in place; returns how many.

    Raises:
        GraphError: what one normalises has no known rank.
    """
    found = [node for node in model.graph if node.op_type == "GroupNormalization" and node.domain == ""]
    for node in found:
        _rewrite(model.graph, node)
    return len(found)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    x, scale, bias = node.inputs
    groups = node.attributes["num_groups"].as_int()
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5

    def add(operator: str, inputs: list[ir.Value | None], **attributes: float) -> ir.Value:
        made = ir.node(operator, inputs, attributes)
        made.metadata_props.update(node.metadata_props)
        graph.insert_before(node, made)
        return made.outputs[0]

    grouped = add("Reshape", [x, constant_shape(graph, (0, groups, -1))])
    ones, zeros = (_filled(graph, groups, value) for value in (1.0, 0.0))
    normal = add("InstanceNormalization", [grouped, ones, zeros], epsilon=epsilon)
    picture = add("Reshape", [normal, add("Shape", [x])])
    # [C] → [C, 1, …]: folded when the graph is opened
    axes = constant_shape(graph, tuple(range(1, _rank(node) - 1)))
    columns = [add("Unsqueeze", [value, axes]) for value in (scale, bias)]
    result = add("Add", [add("Mul", [picture, columns[0]]), columns[1]])
    result.shape, result.type = node.outputs[0].shape, node.outputs[0].type
    ir.convenience.replace_all_uses_with(node.outputs[0], result, replace_graph_outputs=True)


def _rank(node: ir.Node) -> int:
    """Of what is normalised: a picture [B, C, H, W], or its patches [B, C, N]."""
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    if shape is None:
        raise GraphError(str(node.name), "normalises something of unknown shape", "[B, C, …]")
    return len(shape)


def _filled(graph: ir.Graph, groups: int, value: float) -> ir.Value:
    """An initializer [G] that holds one number, one per graph."""
    name = f"groups_{groups}_of_{value:g}"
    if name not in graph.initializers:
        tensor = ir.tensor(np.full(groups, value, np.float32), name=name)
        graph.initializers[name] = ir.Value(
            name=name, shape=ir.Shape((groups,)), type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor
        )
    return graph.initializers[name]
