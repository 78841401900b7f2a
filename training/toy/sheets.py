"""Contact sheets: many small pictures on one, with their captions."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

TILE = 96  # pixels a side on the sheet
LINE = 11  # pixels of a caption line


def save_sheet(
    path: Path, pictures: npt.NDArray[np.uint8], captions: Sequence[str] | None = None, columns: int = 8
) -> None:
    """Saves pictures [N, H, W, 3] in rows of `columns`, captions of up to three lines beneath, as PNG."""
    below = 3 * LINE + 2 if captions else 0
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (TILE + 4), rows * (TILE + 4 + below)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(9)
    for index, picture in enumerate(pictures):
        left, top = index % columns * (TILE + 4) + 2, index // columns * (TILE + 4 + below) + 2
        sheet.paste(Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.BICUBIC), (left, top))
        if captions:
            for number, line in enumerate(textwrap.wrap(captions[index], 21)[:3]):
                pen.text((left, top + TILE + number * LINE), line, fill="black", font=font)
    part = path.with_suffix(".part.png")
    sheet.save(part, optimize=True)
    part.replace(path)
