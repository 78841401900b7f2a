"""The demo's picture: reference photos | the plain base with the init word | ViCo, one row a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image, ImageOps

_CELL_INCHES = 1.35


@dataclass(frozen=True)
class Row:
    """One prompt's pictures."""

    prompt: str
    """With the placeholder, e.g. "a photo of * on the beach"."""
    reference: Image.Image
    plain: Sequence[Image.Image]
    """The base without the concept, the init word in the placeholder's place."""
    personalised: Sequence[Image.Image]


def draw_grid(rows: Sequence[Row], path: Path, *, init_word: str, concept: str) -> None:
    """Draw `rows`, all with equally many pictures, to the PNG `path`."""
    mpl.use("Agg")
    plain, personalised = len(rows[0].plain), len(rows[0].personalised)
    columns = 1 + plain + personalised
    size = ((columns + 0.3) * _CELL_INCHES, (len(rows) * 1.22 + 0.35) * _CELL_INCHES)
    figure, axes = plt.subplots(len(rows), columns, figsize=size, dpi=140, squeeze=False)
    headings = {0: "photos of it", 1: f'plain base, "{init_word}"', 1 + plain: f"ViCo, {concept}"}
    for number, (row, line) in enumerate(zip(rows, axes, strict=True)):
        for column, image in enumerate((row.reference, *row.plain, *row.personalised)):
            _show(line[column], image)
            if number == 0 and column in headings:
                line[column].set_title(headings[column], loc="left", fontsize=9, fontweight="bold", pad=18)
        line[1].text(0, 1.04, row.prompt, transform=line[1].transAxes, fontsize=8, color="0.25", va="bottom")
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=0.92, wspace=0.05, hspace=0.22)
    figure.savefig(path)
    plt.close(figure)


def _show(axes: Axes, image: Image.Image) -> None:
    axes.imshow(ImageOps.fit(image.convert("RGB"), (256, 256), Image.Resampling.BICUBIC))
    axes.set_axis_off()
