"""The rewriting passes on graphs made for them: the same numbers, the promised form."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from export.errors import GraphError
from export.targets.flash_attention import use_multi_head_attention
from export.targets.static_shapes import use_static_shapes

FLOAT = TensorProto.FLOAT


def _model(nodes: list[Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], **shapes: Any) -> ir.Model:
    """A graph with constant shapes `shapes`; the sizes of its values are inferred."""
    import onnx

    def values(sizes: dict[str, list[Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, FLOAT, size) for name, size in sizes.items()]

    constants = [helper.make_tensor(name, TensorProto.INT64, [len(size)], size) for name, size in shapes.items()]
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    model: ir.Model = ir.from_proto(onnx.shape_inference.infer_shapes(made, data_prop=True))
    return model


def _attention(heads: int, width: int, *, split: bool, joined: bool, **attributes: Any) -> ir.Model:
    """q, k, v → Attention → y; split, joined: from and to [B, N, H·d] as the exporter does it."""
    nodes, inputs = [], {}
    for name, tokens in (("q", "n"), ("k", "m"), ("v", "m")):
        inputs[name] = ["b", tokens, heads * width] if split else ["b", heads, tokens, width]
        if split:
            nodes.append(helper.make_node("Reshape", [name, "parts"], [f"{name}_parts"]))
            nodes.append(helper.make_node("Transpose", [f"{name}_parts"], [f"{name}_heads"], perm=[0, 2, 1, 3]))
    feeds = [f"{name}_heads" if split else name for name in inputs]
    nodes.append(helper.make_node("Attention", feeds, ["attended"], name="attention", **attributes))
    if joined:
        nodes.append(helper.make_node("Transpose", ["attended"], ["back"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", ["back", "whole"], ["y"]))
        outputs = {"y": ["b", "n", heads * width]}
    else:
        nodes.append(helper.make_node("Neg", ["attended"], ["y"]))
        outputs = {"y": ["b", heads, "n", width]}
    return _model(nodes, inputs, outputs, parts=[0, 0, heads, width], whole=[0, 0, heads * width])


def _run(model: ir.Model, feeds: dict[str, Any]) -> Any:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def _feeds(model: ir.Model, seed: int = 0, **sizes: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        shape = [size if isinstance(size, int) else sizes[str(size.value)] for size in value.shape]
        feeds[str(value.name)] = random.standard_normal(shape).astype(np.float32)
    return feeds


@settings(max_examples=40, deadline=None)
@given(
    heads=st.integers(1, 4),
    width=st.sampled_from([1, 3, 8, 40]),
    split=st.booleans(),
    joined=st.booleans(),
    scale=st.none() | st.floats(0.05, 2),
    causal=st.booleans(),
    sizes=st.fixed_dictionaries({"b": st.integers(1, 3), "n": st.integers(1, 9), "m": st.integers(1, 12)}),
)
def test_the_rewritten_graph_computes_the_same(
    heads: int, width: int, split: bool, joined: bool, scale: float | None, causal: bool, sizes: dict[str, int]
) -> None:
    if causal:
        sizes |= {"m": sizes["n"]}
    attributes = ({} if scale is None else {"scale": scale}) | {"is_causal": int(causal)}
    model = _attention(heads, width, split=split, joined=joined, **attributes)
    feeds = _feeds(model, **sizes)
    before = _run(model, feeds)
    assert use_multi_head_attention(model) == 1
    RemoveUnusedNodesPass()(model)
    np.testing.assert_allclose(_run(model, feeds), before, atol=2e-5)
    counts = Counter(node.op_type for node in model.graph)
    assert counts["MultiHeadAttention"] == 1
    assert counts["Attention"] == 0
    assert counts["Transpose"] == (0 if split else 3) + (0 if joined else 1)


def test_a_graph_without_attention_stays() -> None:
    model = _model([helper.make_node("Neg", ["x"], ["y"])], {"x": ["b"]}, {"y": ["b"]})
    assert use_multi_head_attention(model) == 0
    assert dict(model.opset_imports) == {"": 23}


def test_a_result_that_leaves_the_graph_keeps_its_name_and_form() -> None:
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"])
    model = _model([node], {name: ["b", 2, "n", 8] for name in "qkv"}, {"y": ["b", 2, "n", 8]})
    feeds = _feeds(model, b=2, n=5)
    before = _run(model, feeds)
    use_multi_head_attention(model)
    RemoveUnusedNodesPass()(model)
    np.testing.assert_allclose(_run(model, feeds), before, atol=1e-5)


@pytest.mark.parametrize(
    ("node", "inputs", "problem"),
    [
        (
            helper.make_node("Attention", ["q", "k", "v", "bias"], ["y"], name="a"),
            {"bias": ["n", "n"]},
            "takes a bias or a cache",
        ),
        (helper.make_node("Attention", ["q", "k", "v"], ["y"], name="a", softcap=30.0), {}, "softcap = 30.0"),
        (helper.make_node("Attention", ["q", "k", "v"], ["y"], name="a"), {"v": ["b", 2, "n", 16]}, "heads × widths"),
        (
            helper.make_node("Attention", ["q", "k", "v"], ["y"], name="a"),
            {"k": ["b", 2, "n", "d"]},
            "an input of shape",
        ),
    ],
)
def test_what_has_no_flash_form_is_refused_by_name(node: Any, inputs: dict[str, Any], problem: str) -> None:
    given_inputs = {name: ["b", 2, "n", 8] for name in "qkv"} | inputs
    model = _model([node], given_inputs, {"y": ["b", 2, "n", inputs.get("v", [8])[-1]]})
    with pytest.raises(GraphError, match=f"a: {problem}"):
        use_multi_head_attention(model)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_reshapes_with_one_new_size_need_no_shape_nodes(batch: int, height: int, width: int) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Shape", ["x"], ["b"], start=0, end=1),
        helper.make_node("Shape", ["x"], ["h"], start=2, end=3),
        helper.make_node("Shape", ["x"], ["w"], start=3, end=4),
        helper.make_node("Mul", ["h", "w"], ["hw"]),
        helper.make_node("Concat", ["b", "hw", "six"], ["flat"], axis=0),
        helper.make_node("Reshape", ["last", "flat"], ["tokens"], allowzero=1),
        helper.make_node("Concat", ["b", "h", "w", "six"], ["whole"], axis=0),
        helper.make_node("Reshape", ["tokens", "whole"], ["y"], allowzero=1),
    ]
    model = _model(nodes, {"x": ["b", 6, "h", "w"]}, {"y": ["b", "h", "w", 6]}, six=[6])
    for value in (node.outputs[0] for node in model.graph if node.outputs[0].name == "tokens"):
        value.shape = ir.Shape(["b", "h*w", 6])
    feeds = _feeds(model, b=batch, h=height, w=width)
    before = _run(model, feeds)
    assert use_static_shapes(model) == 1, "two new sizes have no constant form"
    RemoveUnusedNodesPass()(model)
    np.testing.assert_array_equal(_run(model, feeds), before)
    assert "Mul" not in {node.op_type for node in model.graph}


_PEAK = """
import sys
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.stdin.buffer.read(), options, providers=["CPUExecutionProvider"])
random = np.random.default_rng(0)
feeds = {name: random.standard_normal((1, int(tokens), 8 * 48), np.float32)
         for name, tokens in zip("qkv", (sys.argv[1], sys.argv[2], sys.argv[2]))}
def peak():
    # not `getrusage`, whose peak a process inherits from its parent
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
session.run(None, feeds)
print((peak() - before) / 1024)
"""


def _peak_mebibytes(model: ir.Model, tokens: int, keys: int) -> float:
    """How much the peak of a process grows by one run."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tokens), str(keys)],
        input=ir.to_proto(model).SerializeToString(),
        capture_output=True,
        check=True,
    )
    return float(done.stdout)


def test_no_score_matrix_lies_in_memory() -> None:
    """4096 tokens and 8 heads: the score matrix would be 512 MiB."""
    model = _attention(8, 48, split=True, joined=True)
    assert _peak_mebibytes(model, 4096, 4096) > 400, "the measurement sees a score matrix where there is one"
    use_multi_head_attention(model)
    RemoveUnusedNodesPass()(model)
    assert _peak_mebibytes(model, 4096, 4096) < 64
