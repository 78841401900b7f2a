"""Names, shapes and element types of the five graphs: the table of `docs/architecture.md`, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from vico.concept.graphset import GraphName
from vico.concept.layout import block_tensor_shapes
from vico.concept.manifest import SiteSpec

GRAPH_NAMES: tuple[GraphName, ...] = get_args(GraphName)


@dataclass(frozen=True)
class Axis:
    """A dynamic dimension: `multiple` times the size called `name`."""

    name: str
    multiple: int = 1


Shape = tuple[int | Axis, ...]
Kind = Literal["number", "share", "timestep", "token", "position", "optional_position", "slot", "guidance", "weight"]


@dataclass(frozen=True)
class Value:
    """One input or output of a graph."""

    name: str
    shape: Shape
    kind: Kind = "number"
    """What it holds; "share" is 0 or 1, "optional_position" is −1 or a token position."""

    @property
    def is_integer(self) -> bool:
        """int64 rather than float32."""
        return self.kind in ("timestep", "token", "position", "optional_position", "slot")


@dataclass(frozen=True)
class Signature:
    """What goes into a graph and what comes out, in order."""

    name: GraphName
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attention_maps: int = 0
    """Softmaxes that are meant to be there: text attention columns, of which the mask is made."""


@dataclass(frozen=True)
class Geometry:
    """The sizes of a base that its graphs' signatures depend on."""

    sites: tuple[SiteSpec, ...]
    prompt_tokens: int
    context_width: int
    vocabulary: int
    vae_factor: int
    """Image pixels per latent pixel along one side."""
    unet_multiple: int
    """Latent height and width must be multiples of this."""
    latent_channels: int
    num_timesteps: int

    @property
    def size_multiple(self) -> int:
        """Image height and width must be multiples of this many pixels."""
        return self.vae_factor * self.unet_multiple


BATCH, SLOTS, VECTORS = Axis("batch"), Axis("slots"), Axis("vectors")


def signatures(geometry: Geometry) -> Mapping[GraphName, Signature]:
    """The signatures of all five graphs for a base of this geometry, in the order in which they are exported."""
    made = (
        _text_encoder(geometry),
        _vae_encoder(geometry),
        _reference_encoder(geometry),
        _denoiser(geometry),
        _vae_decoder(geometry),
    )
    return {signature.name: signature for signature in made}


def _image(channels: int, multiple: int) -> Shape:
    return (BATCH, channels, Axis("height", multiple), Axis("width", multiple))


def _context(geometry: Geometry) -> Value:
    return Value("context", (BATCH, geometry.prompt_tokens, geometry.context_width))


def _text_encoder(geometry: Geometry) -> Signature:
    inputs = (
        Value("input_ids", (BATCH, geometry.prompt_tokens), "token"),
        Value("placeholder_position", (BATCH, VECTORS), "optional_position"),
        Value("token_embedding", (BATCH, VECTORS, geometry.context_width)),
    )
    return Signature("text_encoder", inputs, (_context(geometry),))


def _vae_encoder(geometry: Geometry) -> Signature:
    image = Value("image", _image(3, geometry.vae_factor))
    return Signature("vae_encoder", (image,), (Value("latent", _image(geometry.latent_channels, 1)),))


def _vae_decoder(geometry: Geometry) -> Signature:
    latent = Value("latent", _image(geometry.latent_channels, 1))
    return Signature("vae_decoder", (latent,), (Value("image", _image(3, geometry.vae_factor)),))


def _reference_encoder(geometry: Geometry) -> Signature:
    inputs = (
        Value("latent", _image(geometry.latent_channels, geometry.unet_multiple)),
        Value("timestep", (BATCH,), "timestep"),
        _context(geometry),
        Value("placeholder_position", (BATCH,), "position"),
    )
    return Signature("reference_encoder", inputs, _references(geometry), attention_maps=len(geometry.sites))


def _denoiser(geometry: Geometry) -> Signature:
    latent = _image(geometry.latent_channels, geometry.unet_multiple)
    inputs = (
        Value("latent", latent),
        Value("timestep", (BATCH,), "timestep"),
        _context(geometry),
        Value("slot", (BATCH,), "slot"),
        Value("image_guidance", (BATCH,), "guidance"),
        *_references(geometry),
        *_bank(geometry),
    )
    return Signature("denoiser", inputs, (Value("noise", latent),))


def _references(geometry: Geometry) -> tuple[Value, ...]:
    """Features of every site, then masks of every site."""
    tokens = [Axis(f"reference_tokens_{i}") for i in range(len(geometry.sites))]
    features = (
        Value(f"reference_features.{i}", (BATCH, tokens[i], site.channels)) for i, site in enumerate(geometry.sites)
    )
    masks = (Value(f"reference_mask.{i}", (BATCH, axis), "share") for i, axis in enumerate(tokens))
    return (*features, *masks)


def _bank(geometry: Geometry) -> tuple[Value, ...]:
    """The image attention weights of S concepts: all tensors of site 0, then of site 1, …"""
    return tuple(
        Value(f"image_attention.{i}.{tensor}", (SLOTS, *shape), "weight")
        for i, site in enumerate(geometry.sites)
        for tensor, shape in block_tensor_shapes(site.channels).items()
    )
