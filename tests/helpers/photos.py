"""Small photos of one made-up thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def make_photos(folder: Path, count: int = 3, size: int = 48) -> Path:
    """Write `count` pictures of a red disc with a stripe, each elsewhere on another ground; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for i in range(count):
        picture = Image.new("RGB", (size, size), tuple(random.integers(60, 255, 3).tolist()))
        x, y = random.integers(size // 4, size // 2, 2).tolist()
        draw = ImageDraw.Draw(picture)
        draw.ellipse((x - 8, y - 8, x + 12, y + 12), fill=(200, 30, 30))
        draw.rectangle((x - 8, y, x + 12, y + 4), fill=(255, 255, 240))
        picture.save(folder / f"{i}.png")
    return folder


def noise_pictures(count: int, size: int = 32) -> list[Image.Image]:
    """Pictures of nothing."""
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (size, size, 3), dtype=np.uint8)) for _ in range(count)]
