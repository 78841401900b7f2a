"""Decode a photo that a stranger sent."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from serving.errors import InvalidField

MAX_PIXELS = 16_000_000
FORMATS = ("PNG", "JPEG", "WEBP")

_ACCEPTED = f"a PNG, JPEG or WebP of at most {MAX_PIXELS // 1_000_000} megapixels"
# what Pillow's decoders raise on damaged files
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error, zlib.error)


def open_photo(data: bytes) -> Image.Image:
    """Read the header only: format and size are checked before any pixel is allocated.

    Raises:
        InvalidField: not a PNG, JPEG or WebP, or too many pixels.
    """
    try:
        photo = Image.open(io.BytesIO(data), formats=FORMATS)
    except (*_DAMAGED, Image.DecompressionBombError):
        raise InvalidField("reference_image", "not a picture that can be read", _ACCEPTED) from None
    if photo.width * photo.height > MAX_PIXELS:
        raise InvalidField("reference_image", f"{photo.width} x {photo.height} pixels", _ACCEPTED)
    return photo


def decode_photo(data: bytes) -> Image.Image:
    """The photo upright (EXIF), in RGB; transparency is laid over white, CMYK and palettes are converted.

    Raises:
        InvalidField: not a picture, too large, or damaged.
    """
    photo = open_photo(data)
    try:
        photo.load()
        return _to_rgb(ImageOps.exif_transpose(photo))
    except _DAMAGED:
        raise InvalidField("reference_image", "the picture is damaged", _ACCEPTED) from None


def photo_to_array(photo: Image.Image, size: int) -> npt.NDArray[np.float32]:
    """The centre square at `size` pixels, as the VAE takes it: [1, 3, size, size] in [−1, 1]."""
    square = ImageOps.fit(photo, (size, size), method=Image.Resampling.BICUBIC)
    pixels = np.asarray(square, dtype=np.float32) / 127.5 - 1.0
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _to_rgb(photo: Image.Image) -> Image.Image:
    if photo.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16 bits a sample: convert() would clip, not scale
        photo = Image.fromarray((np.asarray(photo, dtype=np.float32) / 257.0).clip(0, 255).astype(np.uint8))
    if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        layer = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return photo.convert("RGB")
