"""Pixels → files."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
"""[H, W, 3]"""

_OPTIONS: dict[str, dict[str, int]] = {"png": {"compress_level": 4}, "jpeg": {"quality": 95}, "webp": {"quality": 95}}


def encode_image(pixels: Pixels, output_format: str) -> bytes:
    """[H, W, 3] → a file of the format; "raw" = the bytes themselves, row by row."""
    if output_format == "raw":
        return pixels.tobytes()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, output_format.upper(), **_OPTIONS[output_format])
    return file.getvalue()
