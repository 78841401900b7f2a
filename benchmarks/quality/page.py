"""The picture page: a row per concept, a training photo, then one picture of every method."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from training.evaluation.draw import Drawn
from training.evaluation.subject import Subject
from vico.concept.atomic import write_atomically

_SIDE, _GAP, _MARGIN = 112, 6, 92
_LINE, _LETTERS = 13, 19
"""Height of a line of a column's title, and how many letters go on it."""
_MOST_BYTES = 1_500_000
_COLOURS = (256, 192, 128, 96, 64, 32)

Row = tuple[Subject, Mapping[str, Sequence[Drawn]]]


def write_page(path: Path, rows: Sequence[Row], methods: Sequence[str]) -> None:
    """Row i shows prompt i of the suite (over again after the last) with the suite's first seed: nothing is chosen."""
    width = _MARGIN + (len(methods) + 1) * (_SIDE + _GAP)
    titles = [wrap(title, _LETTERS) for title in ("a training photo", *methods)]
    head = 8 + _LINE * max(map(len, titles))
    page = Image.new("RGB", (width, head + len(rows) * (_SIDE + _GAP + 14)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for column, lines in enumerate(titles):
        # the last line stands right above the pictures
        for up, line in enumerate(reversed(lines), start=1):
            pen.text((_x(column), head - 4 - up * _LINE), line, "black", font)
    for i, (subject, drawn) in enumerate(rows):
        y = head + i * (_SIDE + _GAP + 14)
        some = next(iter(drawn.values()))
        prompts = list(dict.fromkeys(one.prompt for one in some))
        prompt = prompts[i % len(prompts)]
        pen.multiline_text((4, y + _SIDE // 2 - 8), subject.id.replace("-", "\n"), "black", font)
        pen.text((_x(1), y + _SIDE), prompt.template.format("…"), (90, 90, 90), font)
        page.paste(_sized(subject.train[0]), (_x(0), y))
        for column, method in enumerate(methods, start=1):
            picture = next(one.picture for one in drawn[method] if one.prompt == prompt)
            page.paste(_sized(picture), (_x(column), y))
    write_atomically(path, _small(page))


def _x(column: int) -> int:
    return _MARGIN + column * (_SIDE + _GAP)


def _sized(picture: Image.Image) -> Image.Image:
    return picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)


def _small(page: Image.Image) -> bytes:
    """PNG with as many colours as fit into the size that we commit."""
    content = b""
    for colours in _COLOURS:
        file = io.BytesIO()
        page.quantize(colours).save(file, "PNG", optimize=True)
        content = file.getvalue()
        if len(content) < _MOST_BYTES:
            break
    return content
