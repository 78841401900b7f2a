"""What the CPU's form changes beside attention: norms that have a kernel, and weights gathered when they are wanted."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.errors import GraphError
from export.inputs import random_feed
from export.packing import packed_digest
from export.signatures import GRAPH_NAMES
from export.targets.group_norm import use_instance_norm
from export.targets.late_gathers import gather_late
from tests.helpers.tiny_graphs import ExportedBase
from vico.concept.graphset import GraphName

SIZES = {"batch": 3, "height": 2, "width": 4, "slots": 4, "vectors": 2}


def _norm_graph(channels: int, groups: int, epsilon: float, rank: int) -> ir.Model:
    random = np.random.default_rng(channels)
    shape = ["b", channels, "h", "w"][:rank]
    weights = [
        numpy_helper.from_array(random.standard_normal(channels).astype(np.float32), name) for name in ("scale", "bias")
    ]
    node = helper.make_node(
        "GroupNormalization", ["x", "scale", "bias"], ["y"], num_groups=groups, epsilon=epsilon, name="norm"
    )
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:], weights), opset_imports=[helper.make_opsetid("", 23)]
    )
    model.ir_version = 10
    made: ir.Model = ir.from_proto(model)
    return made


def _run(model: ir.Model, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]  # type: ignore[type-arg]
    return found


@settings(max_examples=25, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]),
    per_group=st.integers(1, 6),
    size=st.tuples(st.integers(1, 3), st.integers(4, 9), st.integers(1, 9)),
    mean=st.sampled_from([0.0, 3.0]),
    epsilon=st.sampled_from([1e-5, 1e-6]),
    rank=st.sampled_from([3, 4]),
)
def test_a_norm_stays_what_it_is(
    groups: int, per_group: int, size: tuple[int, int, int], mean: float, epsilon: float, rank: int
) -> None:
    batch, *sides = size
    model = _norm_graph(groups * per_group, groups, epsilon, rank)
    shape = (batch, groups * per_group, *sides[: rank - 2])
    x = (np.random.default_rng(0).standard_normal(shape) + mean).astype(np.float32)
    before = _run(model, x)
    assert use_instance_norm(model) == 1
    after = _run(model, x)
    assert after.shape == before.shape
    np.testing.assert_allclose(after, before, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_no_norm_is_left_without_a_kernel(exported: ExportedBase, name: GraphName) -> None:
    counts = Counter(node.op_type for node in onnx.load(exported.form(name), load_external_data=False).graph.node)
    before = Counter(node.op_type for node in onnx.load(exported.path(name), load_external_data=False).graph.node)
    assert counts["GroupNormalization"] == 0
    assert counts["InstanceNormalization"] == before["GroupNormalization"]
    assert before["GroupNormalization"] > 0 or name == "text_encoder"


def _order(exported: ExportedBase, folder: Path) -> list[tuple[str, int]]:
    """Operator and bytes of its output, as the denoiser runs them."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(exported.form("denoiser"), options, providers=["CPUExecutionProvider"])
    feed = random_feed(exported.signature("denoiser"), exported.geometry, SIZES)
    session.run(None, {name: tensor.numpy() for name, tensor in feed.items()})
    events = json.loads(Path(session.end_profiling()).read_text())
    runs = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    return [
        (event["args"]["op_name"], int(event["args"]["output_size"])) for event in sorted(runs, key=lambda e: e["ts"])
    ]


def test_weights_are_gathered_site_by_site(exported: ExportedBase, tmp_path: Path) -> None:
    order = _order(exported, tmp_path)
    channels = [site.channels for site in exported.graphset.sites]
    largest = [4 * SIZES["batch"] * 8 * width * width for width in channels]
    places = [index for index, (name, size) in enumerate(order) if name == "Gather" and size in largest]
    assert len(places) == len(channels), "one feed-forward weight a site"
    attentions = [index for index, (name, _) in enumerate(order) if name == "MultiHeadAttention"]
    before = [sum(index < place for index in attentions) for place in places]
    assert before[0] >= 6, "not before the encoder"
    assert all(later - earlier >= 4 for earlier, later in itertools.pairwise(before))


def test_a_graph_without_a_bank_stays(exported: ExportedBase) -> None:
    assert gather_late(ir.load(exported.path("vae_decoder"))) == 0
    assert gather_late(ir.load(exported.path("denoiser"))) > 0


def test_a_site_without_its_norm_is_named(exported: ExportedBase) -> None:
    model = ir.load(exported.path("denoiser"))
    for node in model.graph:
        if node.op_type == "Gather" and (node.inputs[0] or node.outputs[0]).name == "image_attention.0.norm1.weight":
            node.replace_input_with(0, model.graph.inputs[-1])
    with pytest.raises(GraphError, match="no first norm"):
        gather_late(model)


def test_packing_is_of_these_forms(exported: ExportedBase) -> None:
    forms = exported.graphset.targets["onnx"]
    (packed,) = {spec.digest for spec in next(iter(exported.graphset.packed.values())).values()}
    assert packed == packed_digest(forms, next(iter(exported.graphset.packed)))
