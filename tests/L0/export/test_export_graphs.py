"""What the exported graphs promise to serving."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.errors import GraphError
from export.inputs import Feed, random_feed
from export.keys import ExportOptions
from export.modules import Denoiser
from export.onnx_export import export_graph
from export.signatures import GRAPH_NAMES, Axis, Signature, Value
from tests.helpers.tiny_graphs import ExportedBase, run_graph
from vico.base import Base
from vico.concept.graphset import GraphName

SIZES = {"batch": 3, "height": 2, "width": 4, "slots": 4, "vectors": 2}
# one per attention of the tiny base: text layers; VAE middle; U-Net transformers x 2, of which one decoder transformer
# more than the last site needs is cut from the reference encoder; denoiser: all, and two per image attention block
ATTENTIONS = {"text_encoder": 2, "vae_encoder": 1, "reference_encoder": 14, "denoiser": 18, "vae_decoder": 1}


@pytest.fixture(scope="module")
def denoiser(exported: ExportedBase) -> onnxruntime.InferenceSession:
    return exported.session("denoiser")


@pytest.fixture
def feed(exported: ExportedBase) -> Feed:
    return random_feed(exported.signature("denoiser"), exported.geometry, SIZES, seed=3)


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_signature(exported: ExportedBase, name: GraphName) -> None:
    session, signature = exported.session(name), exported.signature(name)
    for found, wanted in ((session.get_inputs(), signature.inputs), (session.get_outputs(), signature.outputs)):
        assert [value.name for value in found] == [value.name for value in wanted]
        for value, expected in zip(found, wanted, strict=True):
            assert value.type == ("tensor(int64)" if expected.is_integer else "tensor(float)")
            assert [_static(size) for size in value.shape] == [_static(size) for size in expected.shape]


def _static(size: object) -> object:
    return size if isinstance(size, int) else "dynamic"


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_attention_is_fused(exported: ExportedBase, name: GraphName) -> None:
    model = onnx.load(exported.path(name), load_external_data=False)
    attentions = [node for node in model.graph.node if node.op_type == "Attention"]
    assert len(attentions) == ATTENTIONS[name]
    assert not any(input_ for node in attentions for input_ in node.input[3:]), "a bias matrix"
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 23}


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_the_cpu_gets_every_attention_as_flash(exported: ExportedBase, name: GraphName) -> None:
    model = onnx.load(exported.form(name), load_external_data=False)
    counts = Counter(node.op_type for node in model.graph.node)
    assert counts["MultiHeadAttention"] == ATTENTIONS[name]
    assert counts["Attention"] == 0
    assert counts["Softmax"] == exported.signature(name).attention_maps
    fused = [node for node in model.graph.node if node.op_type == "MultiHeadAttention"]
    assert not any(input_ for node in fused for input_ in node.input[3:]), "bias, key padding mask or cache"
    before = onnx.load(exported.path(name), load_external_data=False)
    # of a norm ONNX Runtime makes a dozen nodes if it is left as one, and eight of it are here
    norms = 7 * counts["InstanceNormalization"]
    assert len(model.graph.node) - norms < 0.9 * len(before.graph.node)


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_the_cpu_reads_the_weights_of_the_exported_graph(exported: ExportedBase, name: GraphName) -> None:
    form, source = exported.form(name), exported.path(name)
    assert form.parent == source.parent
    model = onnx.load(form, load_external_data=False)
    assert all(len(tensor.raw_data) < 512 for tensor in model.graph.initializer), "weights outside the shared file"
    locations = {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    assert locations == {"model.onnx.data"}


def test_no_projection_is_computed_twice(exported: ExportedBase) -> None:
    """The mask's columns and the fused attention beside them read one query and one key."""
    graph = onnx.load(exported.form("reference_encoder"), load_external_data=False).graph
    products = [tuple(node.input) for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    assert len(products) == len(set(products))


def test_the_reference_encoder_ends_at_the_last_site(exported: ExportedBase, base: Base) -> None:
    graph = onnx.load(exported.path("reference_encoder"), load_external_data=False).graph
    weights = [tensor.name for tensor in graph.initializer]
    last = max(base.sites, key=lambda site: site.index).name
    assert any(name.startswith(f"unet.{last}.transformer_blocks.0.ff.net.2") for name in weights)
    assert not any(
        name.startswith(("unet.conv_out", "unet.conv_norm_out", f"unet.{last}.proj_out")) for name in weights
    )


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_weights_lie_beside_the_graph(exported: ExportedBase, name: GraphName) -> None:
    path = exported.path(name)
    assert path.with_name("model.onnx.data").stat().st_size > 50_000
    assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize("name", GRAPH_NAMES)
def test_a_graph_tells_its_layers_and_nothing_of_the_machine(exported: ExportedBase, name: GraphName) -> None:
    content = exported.path(name).read_bytes()
    for place in (Path(__file__).parents[3], Path(torch.__file__).parents[1], Path.home()):
        assert str(place).encode() not in content
    assert b".py" not in content
    assert b"namespace" in content


@pytest.mark.parametrize("name", GRAPH_NAMES)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (2, 5, 3)])
def test_dynamic_sizes(exported: ExportedBase, name: GraphName, batch: int, height: int, width: int) -> None:
    sizes = {"batch": batch, "height": height, "width": width, "slots": 1, "vectors": 1}
    signature = exported.signature(name)
    outputs = run_graph(exported.session(name), random_feed(signature, exported.geometry, sizes))
    for value, output in zip(signature.outputs, outputs, strict=True):
        assert np.isfinite(output).all()
        for axis, size in zip(value.shape, output.shape, strict=True):
            if not isinstance(axis, Axis):
                assert size == axis
            elif axis.name in sizes:
                assert size == axis.multiple * sizes[axis.name]


def test_reference_tokens_of_every_count(exported: ExportedBase, denoiser: onnxruntime.InferenceSession) -> None:
    for count in (1, 2, 300):
        sizes = SIZES | {"reference_tokens_0": count, "reference_tokens_1": count + 1}
        feed = random_feed(exported.signature("denoiser"), exported.geometry, sizes)
        assert np.isfinite(run_graph(denoiser, feed)[0]).all()


def test_rows_of_a_mixed_batch_are_the_single_requests(denoiser: onnxruntime.InferenceSession, feed: Feed) -> None:
    feed["slot"] = torch.tensor([3, 0, 3])
    (mixed,) = run_graph(denoiser, feed)
    for row, slot in enumerate(feed["slot"].tolist()):
        single = {
            name: tensor[row : row + 1] for name, tensor in feed.items() if not name.startswith("image_attention.")
        }
        single |= {
            name: tensor[slot : slot + 1] for name, tensor in feed.items() if name.startswith("image_attention.")
        }
        (alone,) = run_graph(denoiser, single | {"slot": torch.zeros(1, dtype=torch.int64)})
        np.testing.assert_allclose(mixed[row], alone[0], atol=1e-5)


def test_slots_hold_different_concepts(denoiser: onnxruntime.InferenceSession, feed: Feed) -> None:
    with_zero, with_one = (run_graph(denoiser, feed | {"slot": torch.full((3,), slot)})[0] for slot in (0, 1))
    assert np.abs(with_zero - with_one).max() > 1e-3


def test_guidance_0_is_plain_stable_diffusion_bit_for_bit(base: Base, feed: Feed) -> None:
    feed["image_guidance"] = torch.zeros(3)
    plain = feed["latent"], feed["timestep"], feed["context"]
    with torch.no_grad():
        (noise,) = Denoiser(base.unet, base.sites)(*feed.values())
        unet: Any = base.unet
        from_diffusers = unet(*plain, return_dict=False)[0]
    assert torch.equal(noise, from_diffusers)


def test_guidance_0_forgets_the_concept_bit_for_bit(
    exported: ExportedBase, denoiser: onnxruntime.InferenceSession, feed: Feed
) -> None:
    other = random_feed(exported.signature("denoiser"), exported.geometry, SIZES, seed=4)
    kept = {name: feed[name] for name in ("latent", "timestep", "context")} | {"image_guidance": torch.zeros(3)}
    np.testing.assert_array_equal(run_graph(denoiser, feed | kept)[0], run_graph(denoiser, other | kept)[0])


def test_a_concept_that_overflows_spoils_its_own_rows_only(denoiser: onnxruntime.InferenceSession, feed: Feed) -> None:
    """A row without a concept names any slot: one bad package must not blacken everybody's pictures."""
    plain = feed | {"slot": torch.tensor([0, 0, 1]), "image_guidance": torch.tensor([0.0, 1.0, 1.0])}
    (before,) = run_graph(denoiser, plain)
    bad = {name: value.clone() for name, value in plain.items()}
    for name in bad:
        if name.startswith("image_attention."):
            bad[name][0] = 1e30
    (after,) = run_graph(denoiser, bad)
    assert not np.isfinite(after[1]).all()
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])


def test_guidance_of_one_row_leaves_the_others_alone(denoiser: onnxruntime.InferenceSession, feed: Feed) -> None:
    (before,) = run_graph(denoiser, feed)
    (after,) = run_graph(denoiser, feed | {"image_guidance": feed["image_guidance"] * torch.tensor([0.0, 1.0, 1.0])})
    assert np.abs(before[0] - after[0]).max() > 1e-3
    np.testing.assert_array_equal(before[1:], after[1:])


def test_masked_tokens_have_no_influence(denoiser: onnxruntime.InferenceSession, feed: Feed) -> None:
    changed = dict(feed)
    for i in range(2):
        noise = 100 * torch.randn_like(feed[f"reference_features.{i}"])
        changed[f"reference_features.{i}"] = torch.where(
            feed[f"reference_mask.{i}"][..., None] == 0, noise, feed[f"reference_features.{i}"]
        )
    np.testing.assert_allclose(run_graph(denoiser, changed)[0], run_graph(denoiser, feed)[0], atol=1e-5)


def test_empty_mask_is_one_token_with_the_mean(denoiser: onnxruntime.InferenceSession, feed: Feed) -> None:
    empty, mean = dict(feed), dict(feed)
    for i in range(2):
        empty[f"reference_mask.{i}"] = torch.zeros_like(feed[f"reference_mask.{i}"])
        mean[f"reference_features.{i}"] = feed[f"reference_features.{i}"].mean(dim=1, keepdim=True)
        mean[f"reference_mask.{i}"] = torch.ones(3, 1)
    np.testing.assert_allclose(run_graph(denoiser, empty)[0], run_graph(denoiser, mean)[0], atol=1e-5)


def test_learned_vectors_take_the_place_of_the_prompt(exported: ExportedBase) -> None:
    session = exported.session("text_encoder")
    feed = random_feed(exported.signature("text_encoder"), exported.geometry, {"batch": 2, "vectors": 1})
    feed["placeholder_position"] = torch.tensor([[5], [-1]])
    (before,) = run_graph(session, feed)
    # not by a constant, which the first layer norm would take out again
    (after,) = run_graph(session, feed | {"token_embedding": feed["token_embedding"].flip(-1)})
    assert np.abs(before[0, 5:] - after[0, 5:]).max() > 1e-3
    np.testing.assert_array_equal(before[0, :5], after[0, :5])
    np.testing.assert_array_equal(before[1], after[1])


class _Materialised(torch.nn.Module):
    """Attention with a score matrix in it."""

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor]:
        (latent,) = inputs
        return ((latent @ latent.transpose(2, 3)).softmax(dim=-1) @ latent,)


class _Biased(torch.nn.Module):
    """Attention with a bias matrix."""

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor]:
        (latent,) = inputs
        bias = latent @ latent.transpose(2, 3)
        return (torch.nn.functional.scaled_dot_product_attention(latent, latent, latent, attn_mask=bias),)


@pytest.mark.parametrize(("module", "problem"), [(_Materialised(), "not fused"), (_Biased(), "bias matrix")])
def test_an_attention_that_no_runtime_fuses_is_refused(module: torch.nn.Module, problem: str, tmp_path: Path) -> None:
    shape = (Axis("batch"), 2, Axis("height"), 8)
    signature = Signature("vae_decoder", (Value("latent", shape),), (Value("image", shape),))
    with pytest.raises(GraphError, match=f"vae_decoder: .*{problem}"):
        export_graph(module, signature, (torch.randn(2, 2, 5, 8),), tmp_path, ExportOptions())
    assert not list(tmp_path.iterdir())
