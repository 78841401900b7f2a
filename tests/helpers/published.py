"""Checkpoints in the format that the published ViCo code writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.helpers.concepts import make_tensors
from vico.concept import SiteSpec
from vico.interop.image_blocks import published_names


def write_embedding(path: Path, vectors: Tensor, *, zipped: bool = True, parameter_dict: bool = True) -> Path:
    """`embeddings_gs-*.pt`: one token "*" with its vectors [V, D]."""
    parameters: Any = {"*": torch.nn.Parameter(vectors)}
    content = {
        "string_to_token": {"*": torch.arange(77)[9]},
        "string_to_param": torch.nn.ParameterDict(parameters) if parameter_dict else parameters,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def write_blocks(path: Path, tensors: Mapping[str, Tensor], *, zipped: bool = True) -> Path:
    """`cross_attention-*.pt`: a state dict under the original code's names."""
    torch.save(dict(tensors), path, _use_new_zipfile_serialization=zipped)
    return path


def random_blocks(sites: tuple[SiteSpec, ...], layers: int, seed: int = 0) -> dict[str, Tensor]:
    """Random image blocks by their published names."""
    ours = make_tensors(sites, seed=seed)
    names = published_names(sites, layers)
    return {theirs: torch.from_numpy(np.ascontiguousarray(ours[name])) for name, theirs in names.items()}
