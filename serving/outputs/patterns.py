"""The keyed patterns of the watermark: tiles that repeat over a picture.

A tile that repeats is what makes a mark readable after cropping: every part of the picture, folded onto one tile, holds
the whole of it, only shifted (Kalker et al.: A video watermarking system for broadcast monitoring, 1999).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import shake_256
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Brightness = npt.NDArray[np.float32]

TILE = 64
"""Side of a tile in pixels."""
LOWEST, HIGHEST = 3, 16
"""Waves along a tile: lower ones are seen first, higher ones are lost to half the size and to JPEG."""
_BLUR = 12
"""Radius of the box whose mean is taken off: what is left holds no slopes that a torn tile would turn into waves."""


@lru_cache(4)
def tile_patterns(key: bytes, count: int) -> FloatArray:
    """[count, TILE, TILE] of mean 0 and mean square 1, orthogonal to each other; the same on every machine."""
    noise = np.frombuffer(shake_256(b"vico watermark\0" + key).digest(count * TILE * TILE), np.uint8)
    waves = np.fft.fft2(noise.reshape(count, TILE, TILE) - 127.5) * _band()
    flat = np.fft.ifft2(waves).real.reshape(count, -1)
    basis, triangle = np.linalg.qr(flat.T)
    # libraries differ in the signs
    patterns: FloatArray = (basis * np.sign(np.diag(triangle))).T.reshape(count, TILE, TILE) * TILE
    return patterns


def listeners(patterns: FloatArray) -> FloatArray:
    """What the patterns are read with: themselves, weaker where pictures have most of their own waves, the low ones."""
    waves = np.fft.fft2(patterns) * np.sqrt(_radius())
    heard: FloatArray = np.fft.ifft2(waves).real
    return heard


def residual(pixels: npt.NDArray[np.uint8]) -> Brightness:
    """[H, W, 3] → [H, W]: brightness without its local mean."""
    brightness = pixels.mean(axis=2, dtype=np.float32)
    left: Brightness = brightness - _means(_means(brightness, 0), 1)
    return left


def fold(picture: npt.NDArray[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
    """[H, W] → the sum of its tiles, and how many pixels each place of the tile got: both [TILE, TILE]."""
    height, width = picture.shape
    padded = np.zeros((-(-height // TILE) * TILE, -(-width // TILE) * TILE))
    padded[:height, :width] = picture
    sums = padded.reshape(-1, TILE, padded.shape[1] // TILE, TILE).sum(axis=(0, 2))
    return sums, np.outer(_covered(height), _covered(width))


def unfold(tile: FloatArray, height: int, width: int) -> FloatArray:
    """The tile, repeated over [height, width]."""
    return np.tile(tile, (-(-height // TILE), -(-width // TILE)))[:height, :width]


def _covered(side: int) -> FloatArray:
    return np.bincount(np.arange(side) % TILE, minlength=TILE).astype(np.float64)


def _means(values: Brightness, axis: int) -> Brightness:
    """Along one axis, over `2 · _BLUR + 1` values; fewer at the edges."""
    moved = np.moveaxis(values, axis, 0)
    sums = np.concatenate([np.zeros((1, moved.shape[1]), np.float32), moved.cumsum(axis=0)])
    places = np.arange(len(moved))
    first, last = np.maximum(places - _BLUR, 0), np.minimum(places + _BLUR + 1, len(moved))
    means = (sums[last] - sums[first]) / (last - first).astype(np.float32)[:, None]
    return np.moveaxis(means, 0, axis)


def _radius() -> FloatArray:
    waves = np.fft.fftfreq(TILE) * TILE
    return np.hypot(waves[:, None], waves[None, :])


def _band() -> npt.NDArray[np.bool_]:
    radius = _radius()
    return (radius >= LOWEST) & (radius <= HIGHEST)
