"""One picture of the run: a row per pair, nothing chosen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.two_concepts.measure import Drawn
from benchmarks.two_concepts.plan import Plan
from training.evaluation.subject import Subject
from vico.concept.atomic import write_atomically

_SIDE, _GAP, _HEAD = 96, 4, 18
_SHOWN = 4


def write_page(path: Path, plan: Plan, rows: Sequence[tuple[tuple[Subject, Subject], Drawn]]) -> None:
    """A training photo of each, the first seeds of scene i (over again after the last) in row i, then the floor's."""
    shown = min(_SHOWN, plan.seeds)
    page = Image.new("RGB", ((2 + 2 * shown) * (_SIDE + _GAP), _HEAD + len(rows) * (_SIDE + _GAP + 16)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for column, title in ((0, "training photos"), (2, "both concepts"), (2 + shown, "floor: their words, plain base")):
        pen.text((column * (_SIDE + _GAP), 2), title, "black", font)
    for i, (subjects, drawn) in enumerate(rows):
        y, scene = _HEAD + i * (_SIDE + _GAP + 16), i % len(plan.scenes)
        first = scene * plan.seeds
        photos = [subject.train[0] for subject in subjects]
        pictures = [*photos, *drawn.ours[first : first + shown], *drawn.floor[first : first + shown]]
        for column, picture in enumerate(pictures):
            page.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), (column * (_SIDE + _GAP), y))
        title = f"{subjects[0].id} next to {subjects[1].id} {plan.scenes[scene]}"
        pen.text((0, y + _SIDE), title, (90, 90, 90), font)
    content = io.BytesIO()
    page.quantize(192).save(content, "PNG", optimize=True)
    write_atomically(path, content.getvalue())
