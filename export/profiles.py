"""Optimisation profiles: the shapes that an engine is built for, one profile per size class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export.signatures import Axis, Geometry, Signature, Value
from vico.concept.engine import Range

Profile = Mapping[str, Range]
_KEPT_SHARE = 0.3  # of the reference tokens, as measured on trained concepts: what an engine is tuned for


@dataclass(frozen=True)
class EngineLimits:
    """What an engine serves."""

    sizes: tuple[int, ...]
    """Size classes: image height and width in pixels, up to which one profile goes."""
    max_batch: int = 8
    slots: int = 8
    vectors: int = 16
    references: int = 7
    """Photos of one concept, whose tokens lie side by side."""


def profiles_for(signature: Signature, geometry: Geometry, limits: EngineLimits) -> tuple[Profile, ...]:
    """One profile per size class, with least, best and greatest shape of every input that has a dynamic size.

    A graph without an image size has one profile.
    """
    sized = any(isinstance(axis, Axis) and axis.name == "height" for value in signature.inputs for axis in value.shape)
    sizes = sorted(limits.sizes)[-1:] if not sized else sorted(limits.sizes)
    return tuple(_profile(signature, geometry, limits, size) for size in sizes)


def _profile(signature: Signature, geometry: Geometry, limits: EngineLimits, size: int) -> Profile:
    dynamic = (value for value in signature.inputs if any(isinstance(axis, Axis) for axis in value.shape))
    return {value.name: _range(value, geometry, limits, size) for value in dynamic}


def _range(value: Value, geometry: Geometry, limits: EngineLimits, size: int) -> Range:
    columns = [
        _sizes(axis, value, geometry, limits, size) if isinstance(axis, Axis) else (axis,) * 3 for axis in value.shape
    ]
    least, best, greatest = zip(*columns, strict=True)
    return least, best, greatest


def _sizes(axis: Axis, value: Value, geometry: Geometry, limits: EngineLimits, size: int) -> tuple[int, int, int]:
    """Least, best, greatest size of one axis."""
    match axis.name:
        case "batch":
            return 1, min(2, limits.max_batch), limits.max_batch
        case "slots":
            return 1, limits.slots, limits.slots
        case "vectors":
            return 1, 1, limits.vectors
        case "height" | "width":
            greatest = size if value.name == "image" else size // geometry.vae_factor
            return axis.multiple, greatest, greatest
    tokens = (size // geometry.vae_factor // _stride(geometry, int(axis.name.rsplit("_", 1)[1]))) ** 2
    return 1, max(1, round(_KEPT_SHARE * tokens)), limits.references * tokens


def _stride(geometry: Geometry, site: int) -> int:
    """Latent cells per token of a site along one side: each block of the decoder doubles the resolution."""
    block = int(geometry.sites[site].name.split(".")[1])
    return max(1, geometry.unet_multiple >> block)
