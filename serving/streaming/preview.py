"""Small pictures of latents, by a linear map: hundreds of times cheaper than the decoder."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.lane import FloatArray
from vico.concept.preview import LatentToRGB

SIDE = 64
"""Pixels of a preview's longer side."""

Thumbnail = npt.NDArray[np.uint8]
"""[h, w, 3], neither side longer than `SIDE`."""


class PreviewMap:
    """Latents → thumbnails.

    Args:
        latent_to_rgb: of the base: a row for every channel of the latent and one for the constant, to [−1, 1].
    """

    def __init__(self, latent_to_rgb: LatentToRGB) -> None:
        matrix = np.asarray(latent_to_rgb, np.float32)
        self._weights, self._constant = matrix[:-1], matrix[-1]

    def thumbnail(self, latent: FloatArray) -> Thumbnail:
        """[C, h, w] → one pixel for every cell, or for several where the latent is larger than `SIDE`."""
        latent = _pooled(latent, -(-max(latent.shape[1:]) // SIDE))
        rgb = np.tensordot(latent, self._weights, axes=(0, 0)) + self._constant
        # a latent of a failing sampler may hold anything: it must not fail the stream with it
        scaled: Thumbnail = np.nan_to_num(rgb * 127.5 + 127.5).round().clip(0, 255).astype(np.uint8)
        return scaled


def encode_thumbnail(thumbnail: Thumbnail) -> bytes:
    """A JPEG file whose longer side has `SIDE` pixels."""
    height, width, _ = thumbnail.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    file = io.BytesIO()
    Image.fromarray(thumbnail).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


def _pooled(latent: FloatArray, factor: int) -> FloatArray:
    """Means over squares of `factor` cells; what is left over at the edges is dropped."""
    if factor == 1:
        return latent
    channels, height, width = latent.shape
    rows, columns = max(1, height // factor), max(1, width // factor)
    cut = latent[:, : rows * factor, : columns * factor]
    pooled: FloatArray = cut.reshape(channels, rows, -1, columns, factor).mean(axis=(2, 4))
    return pooled
