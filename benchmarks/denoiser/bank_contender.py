"""Concept weights as inputs, three ways: gathered from a bank by slot, one set per row, and constants of the graph.

Only the image attention blocks, at their sizes in the U-Net: the rest of a step is the same in all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.denoiser.feeds import Feeds
from benchmarks.denoiser.graphs import export_for_benchmark
from benchmarks.denoiser.prepared import Prepared, read_prepared
from benchmarks.denoiser.settings import LANES, Settings
from benchmarks.denoiser.worker import Action
from export.inputs import random_feed
from export.signatures import BATCH, SLOTS, Axis, Geometry, Signature, Value
from serving.runners.onnx_cpu import OnnxCpuRunner
from vico.concept.graphset import GraphName
from vico.concept.layout import BLOCK_TENSORS, block_tensor_shapes
from vico.image_attention import ImageAttentionBlock, image_attention

FORMS = ("bank", "lanes", "fixed")


class Blocks(nn.Module):
    """Every site's image attention block, one after another."""

    def __init__(self, geometry: Geometry, form: str) -> None:
        super().__init__()
        self.heads = tuple(site.heads for site in geometry.sites)
        self.form = form
        made = [ImageAttentionBlock(site.channels, site.heads) for site in geometry.sites] if form == "fixed" else []
        self.blocks = nn.ModuleList(made)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """slot [B]; per site x [B, N_i, C_i]; features [B, M_i, C_i]; masks [B, M_i]; the weights → x of every site."""
        count, slot = len(self.heads), inputs[0]
        x, features, masks = (inputs[1 + k * count : 1 + (k + 1) * count] for k in range(3))
        weights = inputs[1 + 3 * count :]
        return tuple(
            image_attention(x[i], features[i], masks[i], self._weights(weights, slot, i), self.heads[i])
            for i in range(count)
        )

    def _weights(self, weights: tuple[Tensor, ...], slot: Tensor, site: int) -> Mapping[str, Tensor]:
        if self.form == "fixed":
            return dict(self.blocks[site].named_parameters())
        mine = zip(BLOCK_TENSORS, weights[site * len(BLOCK_TENSORS) :], strict=False)
        return {name: tensor.index_select(0, slot) if self.form == "bank" else tensor for name, tensor in mine}


def blocks_signature(geometry: Geometry, form: str) -> Signature:
    """What `Blocks` takes and gives; `slot` is read by the bank alone."""
    sites = list(enumerate(geometry.sites))
    # named as the export's own example inputs know them
    kept, tokens = ([Axis(f"reference_tokens_{i + offset}") for i, _ in sites] for offset in (0, len(sites)))
    leading = {"bank": SLOTS, "lanes": BATCH}
    weights = (
        Value(f"image_attention.{i}.{name}", (leading[form], *shape), "weight")
        for i, site in sites
        if form in leading
        for name, shape in block_tensor_shapes(site.channels).items()
    )
    inputs = (
        Value("slot", (BATCH,), "slot"),
        *(Value(f"x.{i}", (BATCH, tokens[i], site.channels)) for i, site in sites),
        *(Value(f"features.{i}", (BATCH, kept[i], site.channels)) for i, site in sites),
        *(Value(f"mask.{i}", (BATCH, kept[i]), "share") for i, site in sites),
        *weights,
    )
    outputs = tuple(Value(f"after.{i}", (BATCH, tokens[i], site.channels)) for i, site in sites)
    return Signature(cast("GraphName", f"blocks_{form}"), inputs, outputs)


class Bank:
    """`<form>_b<rows>`: rows of eight concepts, each its own."""

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        self._settings, self._prepared = settings, read_prepared(settings)
        geometry, root = self._prepared.geometry, settings.work / "graphs"
        self._signatures = {form: blocks_signature(geometry, form) for form in FORMS}
        self._runners = {
            form: OnnxCpuRunner(
                export_for_benchmark(repr(geometry), Blocks(geometry, form), signature, geometry, root),
                settings.threads,
            )
            for form, signature in self._signatures.items()
        }
        self._warm: set[str] = set()

    def prepare(self, work: str) -> Action:
        """One pass through all blocks."""
        form, _, rows = work.partition("_b")
        feeds = self._feeds(self._prepared, form, int(rows))
        if work not in self._warm:
            self._runners[form].run(feeds)
            self._warm.add(work)
        return lambda: self._runners[form].run(feeds)

    def _feeds(self, prepared: Prepared, form: str, rows: int) -> Feeds:
        sizes = {"batch": rows, "slots": LANES}
        for i, (every, kept) in enumerate(
            zip(prepared.tokens(self._settings.latent), prepared.kept(self._settings.latent), strict=True)
        ):
            sizes |= {f"reference_tokens_{i + len(prepared.strides)}": every, f"reference_tokens_{i}": kept}
        feeds = random_feed(self._signatures[form], prepared.geometry, sizes)
        arrays = {name: tensor.numpy() for name, tensor in feeds.items()}
        return arrays | {"slot": np.arange(rows, dtype=np.int64)}
