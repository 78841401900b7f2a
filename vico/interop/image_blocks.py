"""Published ViCo checkpoints, `cross_attention-*.pt`: image attention blocks under the original code's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vico.concept import SiteSpec, block_tensor_shapes, image_attention_key
from vico.errors import BaseError
from vico.interop.arrays import Array
from vico.interop.errors import CheckpointError
from vico.interop.tensor_file import flat_tensors, read_tensor_file
from vico.ldm import image_block_prefix, split_image_blocks

FIELD = "cross-attention"
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")


def read_image_blocks(path: Path, sites: tuple[SiteSpec, ...], layers: int) -> dict[str, npt.NDArray[np.float32]]:
    """The blocks' tensors by the concept package's names, float32.

    Args:
        path: the checkpoint.
        sites: of the base; every one must be there, and no other.
        layers: of one level of the base's U-Net (`layers_per_block`), which place the names.

    Raises:
        CheckpointError: the file is unsafe or torn, or names the tensor or site that is missing, unknown, of a wrong
            shape, or not finite.
    """
    blocks = _blocks(flat_tensors(read_tensor_file(path, FIELD), FIELD), layers)
    wanted = {site.name for site in sites}
    for site in sorted(wanted ^ blocks.keys()):
        problem = "is missing" if site in wanted else "is none of this base's"
        named = f"site {site} ({image_block_prefix(site, layers).rstrip('.')})"
        raise CheckpointError(FIELD, f"{named} {problem}", ", ".join(sorted(wanted)))
    return {
        image_attention_key(site.name, name): tensor
        for site in sites
        for name, tensor in _checked(site, blocks[site.name]).items()
    }


def published_names(sites: tuple[SiteSpec, ...], layers: int) -> dict[str, str]:
    """The concept package's name → the published one, of every tensor of every block."""
    return {
        image_attention_key(site.name, name): f"{_PREFIXES[1]}{image_block_prefix(site.name, layers)}{name}"
        for site in sites
        for name in block_tensor_shapes(site.channels)
    }


def _blocks(tensors: Mapping[str, Array], layers: int) -> dict[str, dict[str, Array]]:
    bare: dict[str, Array] = {}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        if name.removeprefix(prefix) in bare:
            raise CheckpointError(FIELD, f"tensor {name[:120]!r} stands twice", "every tensor once")
        bare[name.removeprefix(prefix)] = tensor
    try:
        others, blocks = split_image_blocks(bare, layers)
    except BaseError as error:
        raise CheckpointError(FIELD, error.problem[:160], error.accepted) from None
    if others:
        raise CheckpointError(FIELD, f"tensor {min(others)[:120]!r} is no part of an image block", "image blocks only")
    return blocks


def _checked(site: SiteSpec, block: Mapping[str, Array]) -> dict[str, npt.NDArray[np.float32]]:
    shapes = block_tensor_shapes(site.channels)
    for name in sorted(shapes.keys() ^ block.keys()):
        problem = "is missing" if name in shapes else "is no part of an image block"
        raise CheckpointError(FIELD, f"tensor {name[:80]!r} at {site.name} {problem}", "twenty tensors a block")
    return {name: _tensor(f"tensor {name!r} at {site.name}", block[name], shape) for name, shape in shapes.items()}


def _tensor(named: str, tensor: Array, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if tensor.dtype.kind != "f":
        raise CheckpointError(FIELD, f"{named} has elements of type {tensor.dtype}", "floating point")
    if tensor.shape != shape:
        raise CheckpointError(FIELD, f"{named} has shape {list(tensor.shape)}", f"{list(shape)} on this base")
    numbers = tensor.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise CheckpointError(FIELD, f"{named} holds NaN or infinity", "finite numbers")
    return numbers
