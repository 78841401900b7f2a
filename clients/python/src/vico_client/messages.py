"""What goes to the server and what comes back, as frozen values; `encode` and `decode` put them on the wire.

A field left at None is not sent: the server's default applies. Defaults and limits live in the server alone.
"""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict, Union

from PIL import Image

ReferenceImage = Union[Image.Image, "os.PathLike[str]", str, bytes]  # picture, path, path, an encoded file


class GenerateOptions(TypedDict, total=False):
    """The keywords of `generate`: the fields of `GenerateRequest` but for the prompt, where they are explained."""

    concept: str | None
    negative_prompt: str | None
    seed: int | None
    preset: str | None
    steps: int | None
    sampler: str | None
    guidance_scale: float | None
    image_guidance: float | None
    height: int | None
    width: int | None
    num_images: int | None
    priority: int | None
    output_format: str | None
    reference_image: ReferenceImage | None
    request_id: str


_SEEDS = 2**32  # more are possible; these can still be read out

# A field with one of these travels as an input tensor: its own name, this KServe datatype, shape [1].
_BYTES = {"datatype": "BYTES"}
_INT32 = {"datatype": "INT32"}
_INT64 = {"datatype": "INT64"}
_FP32 = {"datatype": "FP32"}


@dataclass(frozen=True)
class GenerateRequest:
    """One request for pictures.

    prompt: with exactly one placeholder (`*`, unless the concept has another) if a concept is given.
    concept: `id` or `id@digest`; without it plain Stable Diffusion answers.
    negative_prompt: what the pictures should not show.
    seed: the same request with the same seed gives the same pictures; drawn here if it is not given.
    preset: `quality`, `balanced` or `fast`: chooses steps, sampler, and where guidance is worth its time.
    steps: number of denoising steps, instead of the preset's.
    sampler: `ddim`, `dpmpp_2m` or `unipc`, instead of the preset's.
    guidance_scale: strength of the prompt, 1 = no guidance.
    image_guidance: strength of the concept's photos, 0 = none, 1 = as trained.
    height, width: pixels.
    num_images: number of pictures.
    priority: 1 to 9; a request of a greater one goes first, 5 without it.
    output_format: `png`, `jpeg`, `webp` or `raw` (RGB bytes): how the pictures travel.
    reference_image: a photo used instead of the concept's own: a PIL image, a path, or the bytes of an image file.
    request_id: names the request in the server's logs; keep it when sending the same request again.

    With seed and id a request can be sent again, by a client that lost its server or by you: the pictures are the same.
    """

    prompt: str = field(metadata=_BYTES)
    concept: str | None = field(default=None, metadata=_BYTES)
    negative_prompt: str | None = field(default=None, metadata=_BYTES)
    seed: int | None = field(default=None, metadata=_INT64)
    preset: str | None = field(default=None, metadata=_BYTES)
    steps: int | None = field(default=None, metadata=_INT32)
    sampler: str | None = field(default=None, metadata=_BYTES)
    guidance_scale: float | None = field(default=None, metadata=_FP32)
    image_guidance: float | None = field(default=None, metadata=_FP32)
    height: int | None = field(default=None, metadata=_INT32)
    width: int | None = field(default=None, metadata=_INT32)
    num_images: int | None = field(default=None, metadata=_INT32)
    priority: int | None = field(default=None, metadata=_INT32)
    output_format: str | None = field(default=None, metadata=_BYTES)
    reference_image: ReferenceImage | None = field(default=None, metadata=_BYTES)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if self.seed is None:
            object.__setattr__(self, "seed", secrets.randbelow(_SEEDS))


@dataclass(frozen=True)
class ServerWarning:
    """A remark of the server on a request that it carried out."""

    code: str
    message: str


@dataclass(frozen=True)
class GenerateInfo:
    """What the server really did, after defaults: enough to ask for the same pictures again.

    concept: `id@digest`, "" without a concept. height, width: pixels. timings: seconds per stage.
    """

    seed: int
    steps: int
    sampler: str
    height: int
    width: int
    concept: str
    warnings: tuple[ServerWarning, ...]
    timings: Mapping[str, float]
    preset: str = ""  # of a server that knows presets

    @property
    def concept_digest(self) -> str:
        """SHA-256 of the concept used (64 hex digits), "" without a concept."""
        return self.concept.partition("@")[2]


@dataclass(frozen=True)
class GenerateResult:
    """The answer to one request.

    images: `num_images` decoded pictures. files: the same as the server sent them, bytes-like, not copied
    (`path.write_bytes(file)` works); for `raw`, height × width × 3 bytes each. request_id: as in the request.
    """

    images: tuple[Image.Image, ...]
    files: tuple[memoryview, ...]
    info: GenerateInfo
    request_id: str
