"""What a name stands for: the head of one version of a concept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.report import Notice
from vico.concept import ConceptPackage, ReferenceContext


@dataclass(frozen=True, eq=False)
class ConceptHead:
    """What the first stage must know of one version of a concept."""

    digest: str
    placeholder: str
    token_embedding: npt.NDArray[np.float32]
    """[V, D]"""
    token_only: bool = False
    """A learned word without image attention: its pictures are plain Stable Diffusion's."""
    reference_context: ReferenceContext = "prompt"
    """What the reference stream reads."""
    negative_image_guidance: float = 1.0
    """Share of the image guidance that guidance's negative half gets."""


@dataclass(frozen=True)
class Resolved:
    """A name, resolved."""

    head: ConceptHead
    warnings: tuple[Notice, ...] = ()


def head_of(package: ConceptPackage) -> ConceptHead:
    """The head of a verified package."""
    manifest, embedding = package.manifest, package.token_embedding.astype(np.float32)
    return ConceptHead(
        package.digest,
        manifest.placeholder,
        embedding,
        manifest.token_only,
        manifest.reference_context,
        manifest.negative_image_guidance,
    )
