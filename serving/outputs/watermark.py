"""An invisible watermark: sixteen bits that name a deployment, and a check that only its key's holder can make.

Additive spread spectrum that takes the picture's own part out of what is read (Malvar, Florêncio: Improved spread
spectrum, 2003). It tells careless copies from nothing at all; whoever wants it gone can remove it (docs/security.md).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.outputs.patterns import TILE, FloatArray, fold, listeners, residual, tile_patterns, unfold

Pixels = npt.NDArray[np.uint8]

ID_BITS, CHECK_BITS = 16, 24
PAYLOAD_BITS = ID_BITS + CHECK_BITS
MAX_ID = 2**ID_BITS - 1

_PILOT_STRENGTH, _BIT_STRENGTH = 0.8, 0.3
"""Levels of brightness, root mean square, out of 255."""
_ROUNDS = 2
"""What is clipped at black and white, or rounded off in the first one, is made up for in the second."""
_SURE = 4.0
"""Standard deviations by which the pilot must stand out where its place was searched for."""
_PLACES = 4
_SCALE_STEP, _SCALES = 1.0025, 278
"""From half the size to twice, in steps that a picture of 512 pixels' side still folds at."""


@dataclass(frozen=True)
class Reading:
    """A mark that was found."""

    deployment: int
    scale: float
    """Size of the picture relative to how it was made."""


class Watermark:
    """The mark of one key.

    Args:
        key: secret; who has it can read and forge the mark.
        deployment: 0 … 65535, what the mark says.
    """

    def __init__(self, key: bytes, deployment: int = 0) -> None:
        self._key = key
        self._patterns = tile_patterns(key, 1 + PAYLOAD_BITS)
        self._listeners = listeners(self._patterns)
        signs = self._payload(deployment) * 2.0 - 1.0
        self._wanted = np.concatenate([[_PILOT_STRENGTH], signs * _BIT_STRENGTH])

    def embed(self, pixels: Pixels) -> Pixels:
        """[H, W, 3] → the same with the mark."""
        height, width, _ = pixels.shape
        mark = np.zeros((height, width))
        marked = pixels
        for _ in range(_ROUNDS):
            missing = self._wanted - self._strengths(*fold(residual(marked)))
            # what is there in excess does no harm
            missing[missing * self._wanted < 0] = 0.0
            mark += unfold(np.tensordot(missing, self._patterns, axes=1), height, width)
            marked = (pixels + mark[:, :, None]).round().clip(0, 255).astype(np.uint8)
        return marked

    def read(self, pixels: Pixels, search: bool = True) -> Reading | None:
        """The mark in a picture, or None.

        Args:
            pixels: [H, W, 3].
            search: also in one that was cropped or scaled; takes seconds.
        """
        found = self._read_aligned(pixels)
        if found is not None:
            return Reading(found, 1.0)
        picture = Image.fromarray(residual(pixels))
        for scale in _scales() if search else ():
            found = self._read_anywhere(_scaled(picture, 1 / scale))
            if found is not None:
                return Reading(found, scale)
        return None

    def _read_aligned(self, pixels: Pixels) -> int | None:
        return self._understood(self._strengths(*fold(residual(pixels))))

    def _read_anywhere(self, picture: FloatArray) -> int | None:
        sums, counts = fold(picture)
        mean = sums / np.maximum(counts, 1.0)
        likeness = np.fft.ifft2(np.fft.fft2(mean) * np.fft.fft2(self._listeners[0]).conj()).real
        sure = likeness > _SURE * likeness.std()
        places = np.argsort(likeness, axis=None)[::-1][:_PLACES]
        for place in places[sure.ravel()[places]]:
            shift = tuple(-int(offset) for offset in divmod(int(place), TILE))
            strengths = self._strengths(np.roll(sums, shift, (0, 1)), np.roll(counts, shift, (0, 1)))
            found = self._understood(strengths)
            if found is not None:
                return found
        return None

    def _strengths(self, sums: FloatArray, counts: FloatArray) -> FloatArray:
        """Of each pattern in a folded picture: least squares, as torn tiles make the patterns overlap."""
        heard = self._listeners.reshape(len(self._listeners), -1)
        overlaps = (heard * counts.ravel()) @ self._patterns.reshape(len(heard), -1).T
        strengths: FloatArray = np.linalg.lstsq(overlaps, heard @ sums.ravel(), rcond=1e-6)[0]
        return strengths

    def _understood(self, strengths: FloatArray) -> int | None:
        bits = strengths[1:] > 0
        deployment = int("".join("1" if bit else "0" for bit in bits[:ID_BITS]), 2)
        return deployment if np.array_equal(self._payload(deployment), bits) else None

    def _payload(self, deployment: int) -> npt.NDArray[np.bool_]:
        name = deployment.to_bytes(ID_BITS // 8)
        check = hmac.new(self._key, b"check\0" + name, sha256).digest()[: CHECK_BITS // 8]
        return np.unpackbits(np.frombuffer(name + check, np.uint8)).astype(bool)


def _scales() -> Iterator[float]:
    """Outwards from 1."""
    yield 1.0
    for step in range(1, _SCALES + 1):
        yield _SCALE_STEP**step
        yield _SCALE_STEP**-step


def _scaled(picture: Image.Image, factor: float) -> FloatArray:
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC), np.float64)
