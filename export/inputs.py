"""Random inputs for a graph: to trace it with, and to hold its runtimes against torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from export.signatures import Axis, Geometry, Signature, Value

Feed = dict[str, Tensor]
Sizes = Mapping[str, int]

# no two alike and none 0 or 1, or the tracer would take two sizes for one, or a size for a constant
EXAMPLE_SIZES: Sizes = {"batch": 2, "height": 3, "width": 4, "slots": 5, "vectors": 6}
_FIRST_TOKENS = 7


def random_feed(signature: Signature, geometry: Geometry, sizes: Sizes, seed: int = 0) -> Feed:
    """Tensors for every input, by name.

    `sizes` gives every `Axis` of the signature its value (before its multiple); reference tokens of site i default
    to 7 + 2i.
    """
    generator = torch.Generator().manual_seed(seed)
    return {value.name: _random(value, geometry, sizes, generator) for value in signature.inputs}


def _random(value: Value, geometry: Geometry, sizes: Sizes, generator: torch.Generator) -> Tensor:
    shape = tuple(_size(axis, sizes) if isinstance(axis, Axis) else axis for axis in value.shape)
    match value.kind:
        case "number":
            return torch.randn(shape, generator=generator)
        case "share":
            return _mask(shape, generator)
        case "guidance":
            return 1.5 * torch.rand(shape, generator=generator)
        case "weight":
            return _weight(value.name, shape, generator)
        case "optional_position":
            return _placeholders(shape, geometry.prompt_tokens, generator)
        case "timestep" | "token" | "position" | "slot":
            limit = {
                "timestep": geometry.num_timesteps,
                "token": geometry.vocabulary,
                "position": geometry.prompt_tokens,
                "slot": sizes.get("slots", 1),
            }[value.kind]
            return torch.randint(limit, shape, generator=generator)


def _size(axis: Axis, sizes: Sizes) -> int:
    if axis.name.startswith("reference_tokens_"):
        default = _FIRST_TOKENS + 2 * int(axis.name.rsplit("_", 1)[1])
        return sizes.get(axis.name, default)
    return axis.multiple * sizes[axis.name]


def _mask(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """About half of the tokens of every row are kept, and at least one."""
    mask = (torch.rand(shape, generator=generator) < 0.5).float()
    mask[:, 0] = 1
    return mask


def _weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Scaled as in a trained block, so that errors are those of one."""
    values = torch.randn(shape, generator=generator)
    if len(shape) > 2:
        return values / math.sqrt(shape[-1])
    return 0.1 * values + (1 if ".norm" in name and name.endswith("weight") else 0)


def _placeholders(shape: tuple[int, ...], window: int, generator: torch.Generator) -> Tensor:
    """Different positions after the begin token; the last row has none."""
    rows = [1 + torch.randperm(window - 1, generator=generator)[: shape[1]] for _ in range(shape[0])]
    positions = torch.stack(rows)
    if shape[0] > 1:
        positions[-1] = -1
    return positions
