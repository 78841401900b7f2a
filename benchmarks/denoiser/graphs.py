"""Graphs that only the benchmark needs: plain Stable Diffusion's U-Net, and two-stream ViCo as published."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from export import onnx_export
from export.graphs import Job, Maker
from export.keys import ExportOptions, graph_digest
from export.signatures import BATCH, Axis, Geometry, Signature, Value
from export.store import GraphStore
from vico.base import Base
from vico.concept.graphset import GraphName
from vico.image_attention import ImageAttentionBlock
from vico.sites import Site
from vico.streams import two_stream

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


class PlainUnet(nn.Module):
    """Stable Diffusion's own step."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet: Any = unet

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """latent [B, 4, h, w], timestep [B], context [B, 77, D] → noise [B, 4, h, w]."""
        latent, timestep, context = inputs
        return (self.unet(latent, timestep, context, return_dict=False)[0],)


class TwoStream(nn.Module):
    """ViCo's step as published: reference and picture in one batch, the concept's weights part of the model."""

    def __init__(self, unet: UNet2DConditionModel, sites: tuple[Site, ...]) -> None:
        super().__init__()
        self.unet: Any = unet
        self.sites = sites
        self.blocks = nn.ModuleList(ImageAttentionBlock(site.channels, site.heads) for site in sites)

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """latent and reference_latent [B, 4, h, w], timestep [B], context [B, 77, D], placeholder_position [B]
        → noise [B, 4, h, w]."""
        latent, reference, timestep, context, position = inputs
        blocks = cast("list[ImageAttentionBlock]", list(self.blocks))
        return (two_stream(self.unet, self.sites, blocks, latent, reference, timestep, context, position).noise,)


def plain_signature(geometry: Geometry) -> Signature:
    """What `PlainUnet` takes and gives."""
    latent, timestep, context = _common(geometry)
    name = cast("GraphName", "plain")
    return Signature(name, (latent, timestep, context), (Value("noise", latent.shape),))


def two_stream_signature(geometry: Geometry) -> Signature:
    """What `TwoStream` takes and gives."""
    latent, timestep, context = _common(geometry)
    position = Value("placeholder_position", (BATCH,), "position")
    inputs = (latent, Value("reference_latent", latent.shape), timestep, context, position)
    name = cast("GraphName", "two_stream")
    return Signature(name, inputs, (Value("noise", latent.shape),), attention_maps=len(geometry.sites))


def made_from(base: Base) -> str:
    """What the benchmark's own graphs of a base come from."""
    options = ExportOptions()
    return graph_digest(base.digest, "denoiser", options) + graph_digest(base.digest, "reference_encoder", options)


def export_for_benchmark(source: str, module: nn.Module, signature: Signature, geometry: Geometry, root: Path) -> Path:
    """The ONNX file of a graph, exported and rewritten as what is served; at once if it is there already.

    `source` says what the module's weights and code are.
    """
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    digest = hashlib.sha256(f"{source}{code}{signature.name}".encode()).hexdigest()
    store = GraphStore(root)
    with store.lock():
        job = Job(module, signature, geometry, digest)
        maker = Maker(store, job, ExportOptions(), lambda name, stage: print(f"  {stage} {name}"), check=False)
        with _half_the_batch():
            return maker.bring_up("onnx").model


@contextmanager
def _half_the_batch() -> Iterator[None]:
    """Trace for half as many rows: two-stream ViCo doubles them, and the U-Net has another branch from 64 rows on."""
    traced = onnx_export._BATCH_TRACED
    onnx_export._BATCH_TRACED = traced // 2
    try:
        yield
    finally:
        onnx_export._BATCH_TRACED = traced


def _common(geometry: Geometry) -> tuple[Value, Value, Value]:
    sides = (Axis("height", geometry.unet_multiple), Axis("width", geometry.unet_multiple))
    return (
        Value("latent", (BATCH, geometry.latent_channels, *sides)),
        Value("timestep", (BATCH,), "timestep"),
        Value("context", (BATCH, geometry.prompt_tokens, geometry.context_width)),
    )
