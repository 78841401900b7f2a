"""opset-23 `Attention` → `com.microsoft.MultiHeadAttention`, the one form that ONNX Runtime's CPU runs as flash.

Measured with ONNX Runtime 1.32 (`tests/L0/export/test_export_flash_attention.py`): at 4096 tokens and 8 heads
`Attention` holds the whole score matrix, `MultiHeadAttention` a few tiles of it, as long as it has no bias and no key
padding mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from export.errors import GraphError
from export.targets.static_shapes import constant_shape

CONTRIB = "com.microsoft"
_TOKENS_FIRST = (0, 2, 1, 3)  # [B, H, N, d] <-> [B, N, H, d]
_NOTHING = {"qk_matmul_output_mode": (0,), "softcap": (0.0,), "softmax_precision": (0, 1)}


@dataclass(frozen=True)
class _Heads:
    """What one `Attention` node computes with."""

    count: int
    width: int


def use_multi_head_attention(model: ir.Model) -> int:
    """Rewrite every `Attention` of `model` in place; returns how many.

    Where query, key, value come from `[B, N, H·d]` by a reshape and a transpose, and the result goes back the same way,
    these fall away: `MultiHeadAttention` takes and gives `[B, N, H·d]`.

    Raises:
        GraphError: an `Attention` takes a bias or a cache, or its heads differ in number or width.
    """
    graph = model.graph
    found = [node for node in graph if node.op_type == "Attention" and node.domain == ""]
    for node in found:
        _rewrite(graph, node)
    if found:
        model.opset_imports[CONTRIB] = 1
    return len(found)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    heads = _heads_of(node)
    tokens = [_with_tokens_first(graph, node, value, heads) for value in node.inputs[:3]]
    attributes: dict[str, int | float] = {"num_heads": heads.count}
    if "scale" in node.attributes:
        attributes["scale"] = node.attributes["scale"].as_float()
    if "is_causal" in node.attributes and node.attributes["is_causal"].as_int():
        attributes["unidirectional"] = 1
    fused = ir.node("MultiHeadAttention", tokens, attributes=attributes, domain=CONTRIB, name=node.name)
    fused.metadata_props.update(node.metadata_props)
    graph.insert_before(node, fused)
    _hand_on(graph, node, fused.outputs[0], heads)


def _heads_of(node: ir.Node) -> _Heads:
    """Number and width of the heads, by the shapes [B, H, N, d] of query, key and value."""
    if any(value is not None for value in node.inputs[3:]):
        raise GraphError(str(node.name), "takes a bias or a cache: no flash attention", "query, key and value alone")
    for name, accepted in _NOTHING.items():
        if name in node.attributes and node.attributes[name].value not in accepted:
            raise GraphError(str(node.name), f"{name} = {node.attributes[name].value}", f"{accepted[0]}")
    if len(node.outputs) > 1:
        raise GraphError(str(node.name), f"{len(node.outputs)} outputs", "one")
    found = set()
    for value in node.inputs[:3]:
        shape = value.shape if value is not None else None
        if shape is None or len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int):
            raise GraphError(str(node.name), f"an input of shape {shape}", "[B, H, N, d] with known H and d")
        found.add((shape[1], shape[3]))
    if len(found) != 1:
        raise GraphError(str(node.name), f"heads × widths {sorted(found)}", "the same for query, key and value")
    return _Heads(*found.pop())


def _with_tokens_first(graph: ir.Graph, node: ir.Node, value: ir.Value | None, heads: _Heads) -> ir.Value:
    """[B, H, N, d] → [B, N, H·d]: what it was made of, or made from it."""
    assert value is not None
    made = value.producer()
    if made is None or not _is_transpose(made):
        transpose = _insert(graph, node, ir.node("Transpose", [value], {"perm": _TOKENS_FIRST}))
        return _flatten(graph, node, transpose)
    source = made.inputs[0]
    assert source is not None
    reshape = source.producer()
    if reshape is not None and reshape.op_type == "Reshape":
        flat = reshape.inputs[0]
        # a size at runtime that were not H·d would make the reshape fail today as well
        if flat is not None and _is_flat(flat, heads):
            return flat
    return _flatten(graph, node, source)


def _hand_on(graph: ir.Graph, node: ir.Node, attended: ir.Value, heads: _Heads) -> None:
    """Give [B, N, H·d] to whoever read the [B, H, N, d] of `node`."""
    split: ir.Value | None = None
    for user, _ in tuple(node.outputs[0].uses()):
        after = _only_reader(user.outputs[0]) if _is_transpose(user) else None
        if after is not None and after.op_type == "Reshape" and _is_flat(after.outputs[0], heads):
            _same_shape_and_type(attended, after.outputs[0])
            ir.convenience.replace_all_uses_with(after.outputs[0], attended, replace_graph_outputs=True)
            continue
        if split is None:
            split = _split(graph, node, attended, heads)
        for index, value in enumerate(user.inputs):
            if value is node.outputs[0]:
                user.replace_input_with(index, split)
    if node.outputs[0].is_graph_output():
        split = split or _split(graph, node, attended, heads)
        ir.convenience.replace_all_uses_with(node.outputs[0], split, replace_graph_outputs=True)


def _split(graph: ir.Graph, node: ir.Node, attended: ir.Value, heads: _Heads) -> ir.Value:
    """[B, N, H·d] → [B, H, N, d]."""
    parts = _insert(
        graph, node, ir.node("Reshape", [attended, constant_shape(graph, (0, 0, heads.count, heads.width))])
    )
    split = _insert(graph, node, ir.node("Transpose", [parts], {"perm": _TOKENS_FIRST}))
    _same_shape_and_type(split, node.outputs[0])
    return split


def _flatten(graph: ir.Graph, node: ir.Node, value: ir.Value) -> ir.Value:
    """[B, N, H, d] → [B, N, H·d]."""
    return _insert(graph, node, ir.node("Reshape", [value, constant_shape(graph, (0, 0, -1))]))


def _insert(graph: ir.Graph, before: ir.Node, node: ir.Node) -> ir.Value:
    node.metadata_props.update(before.metadata_props)
    graph.insert_before(before, node)
    return node.outputs[0]


def _is_transpose(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and tuple(node.attributes["perm"].as_ints()) == _TOKENS_FIRST


def _is_flat(value: ir.Value, heads: _Heads) -> bool:
    return value.shape is not None and len(value.shape) == 3 and value.shape[2] == heads.count * heads.width


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = [user for user, _ in value.uses()]
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def _same_shape_and_type(value: ir.Value, like: ir.Value) -> None:
    value.shape, value.type = like.shape, like.type
