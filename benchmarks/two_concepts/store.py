"""Finished pairs: their pictures as two sheets, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path

from PIL import Image

import vico.several
from benchmarks.two_concepts.measure import Drawn
from benchmarks.two_concepts.plan import Plan
from vico.concept.atomic import write_atomically

_CODE = Path(vico.several.__file__).parent


def pair_folder(work: Path, plan: Plan, pair: tuple[str, str], concepts: str) -> Path:
    """Where a pair's pictures lie; another plan, another training or other code of the method is another folder."""
    asked = asdict(plan) | {"pairs": pair, "concepts": concepts}
    code = [file.read_text() for file in sorted(_CODE.glob("*.py"))]
    key = hashlib.sha256(json.dumps([asked, code], sort_keys=True).encode()).hexdigest()[:12]
    return work / f"{pair[0]}+{pair[1]}-{key}"


def load_pair(folder: Path) -> Drawn | None:
    """The pictures of a finished pair."""
    ours, floor = folder / "ours.png", folder / "floor.png"
    return Drawn(_cut(ours), _cut(floor)) if ours.exists() and floor.exists() else None


def save_pair(folder: Path, drawn: Drawn) -> None:
    """Both sheets, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pictures in (("ours", drawn.ours), ("floor", drawn.floor)):
        write_atomically(folder / f"{name}.png", _sheet(pictures))


def _sheet(pictures: list[Image.Image]) -> bytes:
    side = pictures[0].width
    sheet = Image.new("RGB", (side * len(pictures), side))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i * side, 0))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _cut(file: Path) -> list[Image.Image]:
    sheet = Image.open(file).convert("RGB")
    side = sheet.height
    return [sheet.crop((x, 0, x + side, side)) for x in range(0, sheet.width, side)]
