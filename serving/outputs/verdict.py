"""What a safety checker says of a picture, and what is shown then."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from PIL import Image, ImageFilter

from serving.errors import ServingError, Status
from serving.outputs.encoding import Pixels
from serving.request import GenerateRequest

_BLUR_SHARE = 16
"""A blurred picture keeps about so many details along a side."""


class Verdict(StrEnum):
    """On one picture."""

    ALLOW = "allow"
    BLUR = "blur"
    REFUSE = "refuse"


class UnsafePicture(ServingError):  # noqa: N818 - as its siblings in serving.errors
    """The checker refuses a picture, and the operator wants no blank one in its place."""

    status = Status.INVALID_ARGUMENT


class Unchecked(ServingError):  # noqa: N818
    """The checker failed or took too long; nothing is shown that it did not see."""

    status = Status.UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("images", "they could not be checked for safety", "the same request later")


def shown(pixels: Pixels, verdict: Verdict) -> Pixels:
    """[H, W, 3] → what a client may see of it."""
    if verdict is Verdict.ALLOW:
        return pixels
    if verdict is Verdict.REFUSE:
        return np.zeros_like(pixels)
    radius = max(1.0, max(pixels.shape[:2]) / _BLUR_SHARE)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def facts_of(request: GenerateRequest, kind: str) -> Mapping[str, object]:
    """What a checker is told of a request.

    Args:
        request: of the pictures.
        kind: `picture` or `preview`.
    """
    return {
        "kind": kind,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "concept": request.concept,
        "seed": request.seed,
        "first_image": request.first_image,
        "height": request.height,
        "width": request.width,
        "client": request.client,
    }
