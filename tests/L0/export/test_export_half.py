"""Half-width graphs: the same numbers within their width, none of them lost at extreme latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from export.check import HALF, open_session
from export.errors import GraphError, TargetError
from export.inputs import Feed, random_feed
from export.signatures import GRAPH_NAMES
from export.targets.forms import write_form
from tests.helpers.tiny_graphs import ExportedBase, run_graph
from vico.concept.graphset import GraphName, TargetName

SIZES = {"batch": 2, "height": 3, "width": 2, "slots": 2, "vectors": 2}


def _form(exported: ExportedBase, name: GraphName, target: TargetName, folder: Path) -> Path:
    model = folder / "model.onnx"
    write_form(exported.path(name), model, exported.signature(name), target)
    return model


def _half(feed: Feed) -> Feed:
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in feed.items()}


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_float16_computes_the_same_and_survives_extremes(
    exported: ExportedBase, name: GraphName, tmp_path: Path
) -> None:
    signature = exported.signature(name)
    model = _form(exported, name, "onnx-fp16", tmp_path)
    session, wide = open_session(model), exported.session(name)
    assert {value.type for value in session.get_inputs()} <= {"tensor(float16)", "tensor(int64)"}
    assert {value.type for value in session.get_outputs()} == {"tensor(float16)"}
    feed = random_feed(signature, exported.geometry, SIZES, seed=7)
    for value, found, expected in zip(
        signature.outputs, run_graph(session, _half(feed)), run_graph(wide, feed), strict=True
    ):
        error = np.abs(found.astype(np.float32) - expected).max() / max(1.0, np.abs(expected).max())
        assert error < (1.1 if value.kind == "share" else HALF.error)
    for key in feed.keys() & {"latent", "image"}:
        for factor in (0.0, 30.0, 1000.0):
            extreme = feed | {key: feed[key] * factor}
            assert all(np.isfinite(output).all() for output in run_graph(session, _half(extreme)))


def test_late_timesteps_keep_their_precision(exported: ExportedBase, tmp_path: Path) -> None:
    """In float16 the timesteps 998 and 999 would have sines that are radians apart from the true ones."""
    session = open_session(_form(exported, "denoiser", "onnx-fp16", tmp_path))
    feed = random_feed(exported.signature("denoiser"), exported.geometry, SIZES, seed=8)
    for timestep in (0, 511, 998, 999):
        feed["timestep"] = torch.full((2,), timestep)
        (found,), (expected,) = run_graph(session, _half(feed)), run_graph(exported.session("denoiser"), feed)
        assert np.abs(found - expected).max() / max(1.0, np.abs(expected).max()) < HALF.error


def test_bfloat16_is_well_formed_and_takes_float32(exported: ExportedBase, tmp_path: Path) -> None:
    """ONNX Runtime's CPU has no bfloat16 kernels: held against the rules of ONNX, not run."""
    model = _form(exported, "denoiser", "onnx-bf16", tmp_path)
    onnx.checker.check_model(model, full_check=True)
    content = ir.load(model)
    for value in (*content.graph.inputs, *content.graph.outputs):
        assert value.dtype in (ir.DataType.FLOAT, ir.DataType.INT64)
    weights = [value.dtype for value in content.graph.initializers.values() if value.dtype != ir.DataType.INT64]
    assert weights.count(ir.DataType.BFLOAT16) > 0.9 * len(weights)
    gathers = [node for node in content.graph if node.op_type == "Gather" and node.inputs[0] in content.graph.inputs]
    assert gathers, "the bank is gathered, then cast: its rows, not its slots"


def test_norms_compute_in_float32(exported: ExportedBase, tmp_path: Path) -> None:
    content = ir.load(_form(exported, "denoiser", "onnx-fp16", tmp_path))
    norms = [node for node in content.graph if node.op_type in ("GroupNormalization", "LayerNormalization")]
    assert norms
    assert all(node.attributes["stash_type"].as_int() == ir.DataType.FLOAT for node in norms)


def test_a_weight_beyond_the_width_is_named(exported: ExportedBase, tmp_path: Path) -> None:
    content = ir.load(exported.path("vae_decoder"))
    weight = next(value for value in content.graph.initializers.values() if value.name == "vae.decoder.conv_in.weight")
    assert weight.const_value is not None
    weight.const_value = ir.tensor(np.full(weight.const_value.shape.numpy(), 1e6, np.float32), name=weight.name)
    ir.save(content, tmp_path / "source.onnx", external_data="source.onnx.data")
    signature = exported.signature("vae_decoder")
    with pytest.raises(GraphError, match=r"conv_in\.weight.*does not fit into float16"):
        write_form(tmp_path / "source.onnx", tmp_path / "model.onnx", signature, "onnx-fp16")


def test_an_engine_is_no_form_of_a_graph(exported: ExportedBase, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="'tensorrt' is not a form"):
        _form(exported, "vae_decoder", "tensorrt", tmp_path)
