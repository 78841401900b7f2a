"""Uploaded photos: checked by size and header before anything is decoded, then copied for the trainer."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from studio.errors import StudioError

FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


@dataclass(frozen=True)
class Limits:
    """Of one concept's photos."""

    photos: int = 7
    bytes_each: int = 20 * 2**20
    pixels_each: int = 50_000_000
    side: int = 16
    """Pixels, at least."""

    @property
    def accepted(self) -> str:
        """For people."""
        mebibytes, megapixels = self.bytes_each // 2**20, self.pixels_each // 1_000_000
        return f"1 to {self.photos} photos, JPEG, PNG or WebP, each at most {mebibytes} MB and {megapixels} megapixels"


def check_photos(photos: Sequence[Path], limits: Limits) -> tuple[str, ...]:
    """The suffix that fits each photo's content, whatever the file is called; reads headers only.

    Raises:
        StudioError: too many photos or none, or names the one that cannot be taken.
    """
    if not photos:
        raise StudioError("photos", "none yet", limits.accepted)
    if len(photos) > limits.photos:
        raise StudioError("photos", f"{len(photos)} of them", limits.accepted)
    return tuple(_suffix(photo, number, limits) for number, photo in enumerate(photos, 1))


def copy_photos(photos: Sequence[Path], suffixes: Sequence[str], folder: Path) -> None:
    """Into `folder` as 1.jpg, 2.png, …: names that people gave do not travel on."""
    folder.mkdir(parents=True)
    for number, (photo, suffix) in enumerate(zip(photos, suffixes, strict=True), 1):
        shutil.copyfile(photo, folder / f"{number}{suffix}")


def _suffix(photo: Path, number: int, limits: Limits) -> str:
    name = f"photo {number}"
    try:
        size = photo.stat().st_size
        if size > limits.bytes_each:
            raise StudioError("photos", f"{name} has {size / 2**20:.0f} MB", limits.accepted)
        with warnings.catch_warnings():
            # our own limit stands in for Pillow's warning
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(photo, formats=tuple(FORMATS)) as opened:
                width, height, suffix = *opened.size, FORMATS[opened.format or ""]
    except Image.DecompressionBombError:
        raise StudioError("photos", f"{name} has too many pixels", limits.accepted) from None
    except (OSError, ValueError, SyntaxError, KeyError):
        raise StudioError("photos", f"{name} cannot be read as a picture", limits.accepted) from None
    if width * height > limits.pixels_each:
        raise StudioError("photos", f"{name} has {width * height // 1_000_000} megapixels", limits.accepted)
    if min(width, height) < limits.side:
        raise StudioError("photos", f"{name} has {width} x {height} pixels", f"at least {limits.side} on each side")
    return suffix
