"""Photos as they come from cameras, phones and scanners → square RGB pictures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from training.errors import PhotoError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 120_000_000
MIN_SIDE = 16
MAX_PHOTOS = 100
_ACCEPTED = "1 to 7 photos of the concept, as .jpg, .png, .webp, .tif, .bmp or .gif"


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo, ready for the VAE."""

    file: Path
    picture: Image.Image  # RGB, size x size
    enlarged: bool  # its shorter side had fewer than `size` pixels


def load_photos(folder: Path, size: int, *, centre_crop: bool = True) -> tuple[Photo, ...]:
    """Every photo of a folder in the order of their names, upright, on white where transparent, `size` pixels square.

    Files that are not called like pictures are passed over.

    Raises:
        PhotoError: no folder, no photo or too many of them, or names the file that cannot be used, and why.
    """
    if not folder.is_dir():
        raise PhotoError("photos", f"{folder} is not a folder", f"a folder with {_ACCEPTED}")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    if not files:
        raise PhotoError("photos", f"{folder} holds no photo", _ACCEPTED)
    if len(files) > MAX_PHOTOS:
        raise PhotoError("photos", f"{folder} holds {len(files)} photos", _ACCEPTED)
    return tuple(load_photo(file, size, centre_crop=centre_crop) for file in files)


def load_photo(file: Path, size: int, *, centre_crop: bool = True) -> Photo:
    """One photo as in `load_photos`. Raises `PhotoError` naming the file and the reason."""
    with _readable(file), Image.open(file) as opened:
        _check_size(file, opened.size)
        # lets the JPEG decoder skip detail that the resize would drop
        opened.draft("RGB", (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(opened)
        rgb = to_rgb(upright)
    side = min(rgb.size)
    square = (
        ImageOps.fit(rgb, (size, size), Image.Resampling.BICUBIC)
        if centre_crop
        else rgb.resize((size, size), Image.Resampling.BICUBIC)
    )
    return Photo(file, square, enlarged=side < size)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow → RGB with 8 bits: transparent on white, 16-bit and float grey scaled, CMYK converted."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
        return _grey_to_rgb(np.asarray(image, dtype=np.float64))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _grey_to_rgb(levels: npt.NDArray[np.float64]) -> Image.Image:
    """Levels of 8 or 16 bits, or floats from 0 to 1."""
    levels = np.nan_to_num(levels)
    top = levels.max(initial=0.0)
    full = 1.0 if top <= 1 else 255.0 if top <= 255 else 65535.0 if top <= 65535 else float(top)
    return Image.fromarray((levels.clip(0, full) * (255 / full)).round().astype(np.uint8)).convert("RGB")


def _check_size(file: Path, size: tuple[int, int]) -> None:
    width, height = size
    if min(size) < MIN_SIDE:
        raise PhotoError("photos", f"{file.name} has {width} x {height} pixels", f"at least {MIN_SIDE} on each side")
    if width * height > MAX_PIXELS:
        megapixels = width * height // 1_000_000
        raise PhotoError("photos", f"{file.name} has {megapixels} megapixels", f"at most {MAX_PIXELS // 1_000_000}")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn everything that Pillow raises over a file's content into one refusal that names the file."""
    try:
        with warnings.catch_warnings():
            # our own limit, which names the file, stands in for Pillow's warning
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except Image.DecompressionBombError:
        raise PhotoError(
            "photos", f"{file.name} is too large", f"at most {MAX_PIXELS // 1_000_000} megapixels"
        ) from None
    except UnidentifiedImageError:
        raise PhotoError("photos", f"{file.name} is not an image", _ACCEPTED) from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        reason = type(error).__name__ if isinstance(error, MemoryError) else str(error) or type(error).__name__
        raise PhotoError("photos", f"{file.name} cannot be read ({reason})", _ACCEPTED) from None
