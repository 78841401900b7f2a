"""Checkpoints trained elsewhere → concept packages."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from training.errors import TrainingError
from training.photos import Photo, load_photos
from training.report import png_bytes
from vico.base import Base, load_base
from vico.concept import Manifest, validate_concept_id, write_package
from vico.interop.embedding import read_embedding
from vico.interop.image_blocks import read_image_blocks
from vico.pipeline import encode_pictures

_PREVIEW = (64, 64)


@dataclass(frozen=True)
class ImportJob:
    """What `vico import` was asked for."""

    base: Path
    embedding: Path
    out: Path
    concept_id: str
    cross_attention: Path | None = None  # None: the concept is its word alone
    photos: Path | None = None
    init_word: str = ""
    token: str | None = None  # which of the embedding's, where it holds several
    placeholder: str = "*"
    references: int = 1  # photos whose latents are kept
    licence: str = ""


def import_concept(job: ImportJob) -> str:
    """Write the package of a published ViCo checkpoint, or of an embedding alone; returns the concept's digest.

    Raises:
        VicoError: whatever was refused, by field: id, base, embedding, cross-attention, photos. Nothing is written.
    """
    validate_concept_id(job.concept_id)
    if (job.cross_attention is None) != (job.photos is None):
        raise TrainingError(
            "photos",
            "a published concept needs them, a learned word alone has no use for them",
            "both or neither of --cross-attention and --photos",
        )
    base = load_base(job.base)
    tensors: dict[str, Any] = {"token_embedding": read_embedding(job.embedding, base.context_width, job.token)}
    photos: tuple[Photo, ...] = ()
    if job.cross_attention is not None and job.photos is not None:
        tensors |= read_image_blocks(job.cross_attention, base.site_specs, int(base.unet.config["layers_per_block"]))
        photos = load_photos(job.photos, base.default_size)[: job.references]
        tensors["references"] = torch.cat([encode_pictures(base, [photo.picture]) for photo in photos]).numpy()
    return write_package(job.out, _manifest(job, base, photos), tensors)


def _manifest(job: ImportJob, base: Base, photos: tuple[Photo, ...]) -> Manifest:
    files = {"embedding": job.embedding, "cross_attention": job.cross_attention}
    return Manifest(
        id=job.concept_id,
        init_word=job.init_word,
        base_digest=base.digest,
        base_name=base.name,
        sites=base.site_specs if photos else (),
        tensors={},
        placeholder=job.placeholder,
        recipe={
            "name": "imported",
            "method": "vico-published" if photos else "textual-inversion",
            **{f"{name}_sha256": _sha256(file) for name, file in files.items() if file is not None},
        },
        preview_png=_preview(photos),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        licence=job.licence,
    )


def _preview(photos: tuple[Photo, ...]) -> bytes:
    return png_bytes(photos[0].picture.resize(_PREVIEW, Image.Resampling.BICUBIC)) if photos else b""


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
