"""The concept package's manifest: everything about a concept that is not a weight."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vico.concept.layout import (
    BLOCK_TENSORS,
    LATENT_CHANNELS,
    REFERENCES,
    TOKEN_EMBEDDING,
    block_tensor_shapes,
    image_attention_key,
)
from vico.errors import ConceptError

FORMAT_VERSION: Literal[1] = 1
CONCEPT_ID = r"[a-z0-9][a-z0-9._-]{0,63}"
ID_RULE = "1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ReferenceContext = Literal["prompt", "concept"]
"""What the reference stream reads: each half's own prompt, or the fixed prompt of `vico.concept.reference_prompt`."""
_CONFIG = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


@dataclass(frozen=True, config=_CONFIG)
class TensorSpec:
    """What one tensor must be: element type, shape, and the SHA-256 of its little-endian bytes."""

    dtype: Literal["float16", "float32"]
    shape: tuple[int, ...]
    sha256: Digest


@dataclass(frozen=True, config=_CONFIG)
class SiteSpec:
    """One place in the decoder with an image attention block, in decoder order."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]{1,100}$")]
    """Path of the site in the diffusers U-Net, e.g. `up_blocks.1.attentions.1`."""
    channels: Annotated[int, Field(ge=1)]
    """Inner width of the site's transformer."""
    heads: Annotated[int, Field(ge=1)]
    """Attention heads of the site's transformer, and so of its image attention block."""


@dataclass(frozen=True, config=_CONFIG)
class Manifest:
    """A concept's manifest; its canonical JSON is what the concept's digest covers."""

    id: Annotated[str, StringConstraints(pattern=rf"^{CONCEPT_ID}$")]
    init_word: str
    """The word whose embedding the token began as."""
    base_digest: Digest
    sites: tuple[SiteSpec, ...]
    """Empty: the concept is its word alone (Textual Inversion), without image attention and references."""
    tensors: Mapping[str, TensorSpec]
    placeholder: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^\S+$")] = "*"
    base_name: str = ""
    recipe: Mapping[str, Any] = Field(default_factory=dict)
    """How it was trained: every hyper-parameter, seed and step count."""
    evaluation: Mapping[str, Any] = Field(default_factory=dict)
    preview_png: bytes = b""
    """A small PNG that shows the concept, for people who look through a registry."""
    created: str = ""
    """ISO 8601, UTC."""
    licence: str = ""
    """Licence of the photos, and the consent of whoever is in them."""
    format_version: Literal[1] = FORMAT_VERSION
    reference_context: ReferenceContext = "prompt"
    """As it was in training; the published method is `prompt`."""
    negative_image_guidance: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the image guidance that the negative half of classifier-free guidance gets; 1 as published. At 0 that
    half is plain Stable Diffusion's: guidance then strengthens the concept as it does the words."""

    @property
    def token_only(self) -> bool:
        """Whether the concept is a learned word and nothing else."""
        return not self.sites

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; equal manifests give equal text."""
        content = _ADAPTER.dump_python(self, mode="json")
        for name, published in (("reference_context", "prompt"), ("negative_image_guidance", 1.0)):
            if content[name] == published:
                # younger than the format: left out where it changes nothing, so that digests stay what they were
                del content[name]
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Manifest:
        """Parse a manifest.

        Raises:
            ConceptError: names the first field that is missing, unknown or wrong.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "manifest"
            raise ConceptError(
                "concept",
                f"its manifest's field {where!r} is wrong ({first['msg']})",
                f"a concept package of format {FORMAT_VERSION}",
            ) from None


_ADAPTER = TypeAdapter(Manifest)


def validate_concept_id(concept_id: str) -> str:
    """Return `concept_id` unchanged if it is well formed; called before any path is made from it.

    Raises:
        ConceptError: the id is not of the accepted form.
    """
    if re.fullmatch(CONCEPT_ID, concept_id) is None:
        raise ConceptError("concept", "malformed id", ID_RULE)
    return concept_id


def expected_shapes(sites: tuple[SiteSpec, ...]) -> dict[str, tuple[int | None, ...]]:
    """Every tensor a package for these `sites` must hold; None stands for any size from 1."""
    shapes: dict[str, tuple[int | None, ...]] = {TOKEN_EMBEDDING: (None, None)}
    if sites:
        shapes[REFERENCES] = (None, LATENT_CHANNELS, None, None)
    for site in sites:
        block = block_tensor_shapes(site.channels)
        shapes |= {image_attention_key(site.name, tensor): block[tensor] for tensor in BLOCK_TENSORS}
    return shapes
