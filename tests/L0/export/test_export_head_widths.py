"""The published sizes: 8 heads of 40, 80 and 160 channels, and the mask beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.check import open_session
from export.inputs import random_feed
from export.keys import ExportOptions
from export.onnx_export import export_graph
from export.signatures import BATCH, Axis, Geometry, Signature, Value
from tests.helpers.tiny_graphs import run_graph
from vico.image_attention import masked_attention

GEOMETRY = Geometry((), 77, 8, 10, 2, 4, 4, 1000)
HEAD_WIDTHS = (40, 80, 160)


class _Attentions(nn.Module):
    """Masked attention at every head width: mask [B, M], then queries [B, 8, N, d] and references [B, 8, M, d]."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        mask, *rest = inputs
        return tuple(masked_attention(q, r, r, mask) for q, r in zip(rest[::2], rest[1::2], strict=True))


def _signature() -> Signature:
    tokens, references = Axis("tokens"), Axis("references")
    inputs = [Value("mask", (BATCH, references), "share")]
    for d in HEAD_WIDTHS:
        inputs += [Value(f"query.{d}", (BATCH, 8, tokens, d)), Value(f"reference.{d}", (BATCH, 8, references, d))]
    outputs = (Value(f"attended.{d}", (BATCH, 8, tokens, d)) for d in HEAD_WIDTHS)
    return Signature("denoiser", tuple(inputs), tuple(outputs))


def test_published_head_widths(tmp_path: Path) -> None:
    signature = _signature()
    example = random_feed(signature, GEOMETRY, {"batch": 2, "tokens": 6, "references": 11})
    facts = export_graph(_Attentions(), signature, tuple(example.values()), tmp_path, ExportOptions())
    assert facts.attention_nodes == len(HEAD_WIDTHS)
    feed = random_feed(signature, GEOMETRY, {"batch": 3, "tokens": 64, "references": 20}, seed=1)
    feed["mask"][0] = 0
    found = run_graph(open_session(tmp_path / "model.onnx"), feed)
    for d, attended, expected in zip(HEAD_WIDTHS, found, _Attentions()(*feed.values()), strict=True):
        np.testing.assert_allclose(attended, expected.numpy(), atol=1e-5)
        # an empty mask attends uniformly
        mean = feed[f"reference.{d}"][0].mean(dim=1, keepdim=True).expand(-1, 64, -1)
        np.testing.assert_allclose(attended[0], mean.numpy(), atol=1e-5)
        kept = feed["mask"][1].bool()
        q, r = feed[f"query.{d}"][1], feed[f"reference.{d}"][1][:, kept]
        gathered = torch.nn.functional.scaled_dot_product_attention(q, r, r)
        np.testing.assert_allclose(attended[1], gathered.numpy(), atol=1e-5)
