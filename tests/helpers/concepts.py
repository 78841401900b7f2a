"""Small concept packages from random numbers. Free of torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vico.concept import (
    BLOCK_TENSORS,
    Manifest,
    ReferenceContext,
    SiteSpec,
    block_tensor_shapes,
    image_attention_key,
    write_package,
)

SITES = (SiteSpec("up_blocks.0.attentions.1", 8, 2), SiteSpec("up_blocks.1.attentions.0", 4, 2))
BASE_DIGEST = "ab" * 32


def make_tensors(
    sites: tuple[SiteSpec, ...] = SITES,
    *,
    seed: int = 0,
    width: int = 6,
    vectors: int = 1,
    latent: int = 4,
    dtype: str = "float32",
    scale: float = 0.2,
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """Random tensors of a concept for `sites`; `latent` is the side of its reference latent."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"token_embedding": (vectors, width), "references": (1, 4, latent, latent)}
    for site in sites:
        block = block_tensor_shapes(site.channels)
        shapes |= {image_attention_key(site.name, name): block[name] for name in BLOCK_TENSORS}
    tensors = {name: (random.standard_normal(shape) * scale).astype(dtype) for name, shape in shapes.items()}
    for name in tensors:
        if ".norm" in name and name.endswith("weight"):
            tensors[name] += 1
    return tensors


def make_token_only(
    folder: Path, concept_id: str = "word", *, base: str = BASE_DIGEST, width: int = 6, vectors: int = 1
) -> Path:
    """Write a concept that is a learned word and nothing else; returns its path."""
    path = folder / f"{concept_id}.safetensors"
    embedding = make_tensors((), width=width, vectors=vectors)["token_embedding"]
    write_package(path, make_manifest(concept_id, (), base), {"token_embedding": embedding})
    return path


def make_manifest(concept_id: str = "toy", sites: tuple[SiteSpec, ...] = SITES, base: str = BASE_DIGEST) -> Manifest:
    """A manifest for `sites`, its tensor table still empty."""
    return Manifest(id=concept_id, init_word="toy", base_digest=base, sites=sites, tensors={})


def make_concept(
    folder: Path,
    concept_id: str = "toy",
    *,
    sites: tuple[SiteSpec, ...] = SITES,
    base: str = BASE_DIGEST,
    seed: int = 0,
    width: int = 6,
    latent: int = 4,
    scale: float = 0.2,
    reference_context: ReferenceContext = "prompt",
    negative_image_guidance: float = 1.0,
) -> Path:
    """Write `<folder>/<concept_id>.safetensors` from random tensors; returns its path."""
    path = folder / f"{concept_id}.safetensors"
    tensors = make_tensors(sites, seed=seed, width=width, latent=latent, scale=scale)
    manifest = replace(
        make_manifest(concept_id, sites, base),
        reference_context=reference_context,
        negative_image_guidance=negative_image_guidance,
    )
    write_package(path, manifest, tensors)
    return path
