"""Puts cut-outs on a painted scene: size, tilt, place, light, shadow; then the finishing of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from training.toy.cutouts import Cutout
from training.toy.effects import STYLE_FILTERS, colourise
from training.toy.scenes import Painting, Random, S

SINGLE_SCALE = (0.55, 0.85)  # longer side of a lone object, in parts of the picture
PAIR_SCALE = (0.42, 0.5)
DIM = {"night": 0.8, "sunset": 0.85, "forest": 0.85}  # how dark the light on objects is, where it is not full
NO_SHADOW = ("night", "water", "blue", "sunset")


def compose(
    canvas: Painting, cutouts: Sequence[Cutout], scene: str, colour: str | None, draw: Random
) -> npt.NDArray[np.float32]:
    """`canvas` [S, S, 3] with one cut-out, or two side by side, on it."""
    for place, cutout in enumerate(cutouts):
        scale = draw.uniform(*(PAIR_SCALE if len(cutouts) > 1 else SINGLE_SCALE))
        painted = colourise(cutout, colour) if colour else cutout
        sprite = pose(painted, round(scale * S), draw)
        row, column = corner(sprite, place if len(cutouts) > 1 else None, draw)
        canvas = lay(canvas, sprite, row, column, scene, draw)
    return canvas


def pose(cutout: Cutout, longest: int, draw: Random) -> Image.Image:
    """The cut-out mirrored or not, scaled to `longest` pixels, tilted a little."""
    picture = Image.fromarray(cutout)
    if draw.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = longest / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    return picture.rotate(draw.normal(0, 4), Image.Resampling.BICUBIC, expand=True)


def corner(sprite: Image.Image, place: int | None, draw: Random) -> tuple[int, int]:
    """Upper left corner of `sprite`: standing in the lower part, near the middle, or left (0) and right (1)."""
    if place is None:
        middle = 0.5 + draw.uniform(-0.5, 0.5) * max(0.0, 0.9 - sprite.width / S)
    else:
        middle = (0.27, 0.73)[place] + draw.uniform(-0.03, 0.03)
    slack = max(0.0, 0.96 - sprite.height / S)
    foot = 0.97 - slack * draw.uniform(0.1, 0.6)
    return round(foot * S) - sprite.height, round(middle * S - sprite.width / 2)


def lay(canvas: Painting, sprite: Image.Image, row: int, column: int, scene: str, draw: Random) -> Painting:
    """Blends `sprite` onto the canvas with its soft shadow beneath."""
    layer = Image.new("RGBA", (S, S))
    layer.paste(sprite, (column, row))
    pixels = np.asarray(layer, dtype=np.float32) / 255
    colour, opacity = pixels[..., :3], pixels[..., 3:]
    if scene not in NO_SHADOW:
        canvas = canvas * (1 - shadow(layer, row + sprite.height, draw)[..., None])
    light = DIM.get(scene, 1.0) * draw.uniform(0.88, 1.06) * (1 + draw.uniform(-0.03, 0.03, size=3))
    if scene == "water":
        opacity = opacity * submerged(row + sprite.height)
    lit = np.clip(colour * light.astype(np.float32), 0, 1)
    return canvas + (lit - canvas) * opacity


def shadow(layer: Image.Image, foot: int, draw: Random) -> npt.NDArray[np.float32]:
    """Darkness [S, S]: the silhouette pressed flat at its foot and blurred, with a little cast to one side."""
    silhouette = layer.getchannel("A")
    lean, flat = draw.uniform(-0.35, 0.35), draw.uniform(0.22, 0.32)
    rows = (1, lean / flat, -lean / flat * foot, 0, 1 / flat, foot - foot / flat)
    pressed = silhouette.transform((S, S), Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)
    soft = pressed.filter(ImageFilter.GaussianBlur(4))
    return np.asarray(soft, dtype=np.float32) * (draw.uniform(0.4, 0.6) / 255)


def submerged(foot: int) -> npt.NDArray[np.float32]:
    """Opacity factor [S, 1, 1] of an object in the water: its lowest part shines through only faintly."""
    depth = (foot - np.arange(S, dtype=np.float32)) / S
    factor: npt.NDArray[np.float32] = 0.25 + 0.75 * np.clip((depth - 0.07) / 0.04, 0, 1)
    return factor[:, None, None]


def finish(canvas: Painting, style: str | None, size: int) -> npt.NDArray[np.uint8]:
    """The canvas averaged down to `size` pixels and passed through the filter of its style."""
    picture = Image.fromarray((255 * np.clip(canvas, 0, 1)).astype(np.uint8)).resize((size, size), Image.Resampling.BOX)
    if style:
        picture = STYLE_FILTERS[style](picture)
    return np.asarray(picture)
