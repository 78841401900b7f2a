"""A concept as tensors on a device: what training makes and the pipeline samples with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vico.base import Base
from vico.concept import ConceptPackage, ReferenceContext
from vico.errors import ConceptError


@dataclass(frozen=True, eq=False)
class LoadedConcept:
    """Everything of a concept that enters the computation."""

    placeholder: str
    token_embedding: Tensor  # [V, D]
    blocks: Sequence[Mapping[str, Tensor]]  # per site: the twenty tensors, without a batch dimension; none: token only
    references: Tensor  # [R, 4, h, w] clean latents, scaled; R = 0 if token only
    reference_context: ReferenceContext = "prompt"  # what the reference stream reads
    negative_image_guidance: float = 1.0  # share of the image guidance that guidance's negative half gets


def load_concept(base: Base, package: ConceptPackage, *, force: bool = False) -> LoadedConcept:
    """Bring a package's tensors to the device and precision of `base`.

    Raises:
        ConceptError: it was trained on another base (`force` goes on where the shapes allow it), or does not fit.
    """
    if not force:
        package.require_base(base.digest)
    fits = package.manifest.token_only or package.manifest.sites == base.site_specs
    if not fits or package.token_embedding.shape[1] != base.context_width:
        raise ConceptError(
            "concept", f"{package.manifest.id!r} does not fit this base's sites or text width", base.name
        )

    def loaded(array: object) -> Tensor:
        return torch.tensor(array, device=base.device, dtype=base.dtype)

    return LoadedConcept(
        placeholder=package.manifest.placeholder,
        token_embedding=loaded(package.token_embedding),
        blocks=[
            {k: loaded(v) for k, v in package.image_attention(site.name).items()} for site in package.manifest.sites
        ],
        references=loaded(package.references),
        reference_context=package.manifest.reference_context,
        negative_image_guidance=package.manifest.negative_image_guidance,
    )
