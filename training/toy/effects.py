"""What captions can ask for beyond object and scene: styles of the finished picture, colours of the object."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from training.toy.vocabulary import COLOURS

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def gray(picture: Image.Image) -> Image.Image:
    """Black and white."""
    return picture.convert("L").convert("RGB")


def sketch(picture: Image.Image) -> Image.Image:
    """Pencil lines where brightness changes, by dividing the picture by its own blur ("colour dodge")."""
    light = picture.convert("L")
    tone = np.asarray(light, dtype=np.float32)
    soft = np.asarray(light.filter(ImageFilter.GaussianBlur(2.5)), dtype=np.float32)
    lines = 255 * np.clip((tone + 12) / (soft + 12), 0, 1) ** 2
    shaded = np.clip(0.85 * lines + 0.15 * (150 + tone * 0.4), 0, 250)
    return Image.fromarray(shaded.astype(np.uint8)).convert("RGB")


def pixel(picture: Image.Image) -> Image.Image:
    """Blocks of about three pixels in few colours."""
    blocks = picture.resize((picture.width // 3, picture.height // 3), Image.Resampling.BOX)
    levels = np.round(np.asarray(blocks, dtype=np.float32) / 51) * 51
    return Image.fromarray(levels.astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)


def watercolor(picture: Image.Image) -> Image.Image:
    """Flat pale patches that fade towards white paper at the borders."""
    flat = np.asarray(picture.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.ModeFilter(5)), dtype=np.float32)
    pale = 255 - 0.72 * (255 - flat)
    axis = np.linspace(-1, 1, picture.width, dtype=np.float32)
    border = np.clip((np.maximum(np.abs(axis[:, None]), np.abs(axis[None, :])) - 0.72) / 0.28, 0, 1)[..., None]
    paper = np.array([252, 249, 242], dtype=np.float32)
    return Image.fromarray((pale + (paper - pale) * border).astype(np.uint8))


STYLE_FILTERS = {"gray": gray, "sketch": sketch, "pixel": pixel, "watercolor": watercolor}
"""Filters by the keys of `vocabulary.STYLES`."""


def colourise(cutout: npt.NDArray[np.uint8], colour: str) -> npt.NDArray[np.uint8]:
    """Paints a cut-out [h, w, 4] in shades of one colour word, keeping its light and shade."""
    tone = cutout[..., :3].astype(np.float32) @ _LUMA / 255
    opaque = cutout[..., 3] > 128
    middle = float(np.median(tone[opaque])) if opaque.any() else 0.5
    tone = np.clip(0.55 + 0.8 * (tone - middle), 0, 1)
    base = np.array(colorsys.hls_to_rgb(COLOURS[colour] / 360, 0.5, 0.85), dtype=np.float32)
    dark, light = 2 * tone[..., None] * base, 1 - 2 * (1 - tone[..., None]) * (1 - base)
    painted = np.where(tone[..., None] < 0.5, dark, light)
    return np.dstack([(255 * painted).astype(np.uint8), cutout[..., 3]])
