"""A short report of a training run: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.checkpoints import LossPoint
from vico.concept.atomic import write_atomically

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}figure{display:inline-block;margin:.3rem;text-align:center}
img{width:9rem;height:auto;image-rendering:auto;border-radius:4px}figcaption{font-size:.75rem;color:#666;max-width:9rem}
table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0;vertical-align:top}td:first-child{color:#666}
svg{width:100%;height:14rem}
"""
_WINDOW = 15
_CURVE_WIDTH, _CURVE_HEIGHT = 900, 220


@dataclass(frozen=True)
class Captioned:
    """A picture and what it shows."""

    picture: Image.Image
    caption: str


def write_report(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    losses: Sequence[LossPoint],
    galleries: Mapping[str, Iterable[Captioned]],
) -> None:
    """Write the report atomically: facts, loss curve, and each gallery under its heading."""
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
    sections = "".join(
        f"<h2>{html.escape(heading)}</h2>{''.join(map(_figure, pictures))}" for heading, pictures in galleries.items()
    )
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><table>{rows}</table>"
        f"{sections}<h2>Loss</h2>{loss_curve(losses)}</html>\n"
    )
    write_atomically(path, page.encode())


def png_bytes(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def loss_curve(losses: Sequence[LossPoint]) -> str:
    """An SVG of the error of ε per step (dots) and its running mean (line)."""
    if not losses:
        return "<p>No step was taken.</p>"
    values = [point.noise for point in losses]
    means = [sum(values[max(0, i - _WINDOW + 1) : i + 1]) / min(i + 1, _WINDOW) for i in range(len(values))]
    top, last = max(values) or 1.0, max(len(values) - 1, 1)

    def place(i: int, value: float) -> str:
        return f"{40 + i * (_CURVE_WIDTH - 50) / last:.1f},{10 + (1 - value / top) * (_CURVE_HEIGHT - 35):.1f}"

    def dot(i: int, value: float) -> str:
        x, y = place(i, value).split(",")
        return f"<circle cx='{x}' cy='{y}' r='1.5'/>"

    dots = "".join(dot(i, value) for i, value in enumerate(values))
    line = " ".join(place(i, mean) for i, mean in enumerate(means))
    return (
        f"<svg viewBox='0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}' role='img' aria-label='loss curve'>"
        f"<g fill='#bbb'>{dots}</g><polyline points='{line}' fill='none' stroke='#06c' stroke-width='2'/>"
        f"<g font-size='11' fill='#666'><text x='0' y='16'>{top:.3f}</text>"
        f"<text x='0' y='{_CURVE_HEIGHT - 25}'>0</text><text x='40' y='{_CURVE_HEIGHT - 5}'>step 1</text>"
        f"<text x='{_CURVE_WIDTH - 10}' y='{_CURVE_HEIGHT - 5}' text-anchor='end'>step {losses[-1].step + 1}</text>"
        f"<text x='{_CURVE_WIDTH // 2}' y='{_CURVE_HEIGHT - 5}' text-anchor='middle'>"
        f"mean squared error of the noise; line: mean of {_WINDOW} steps</text></g></svg>"
    )


def _figure(captioned: Captioned) -> str:
    data = base64.b64encode(png_bytes(captioned.picture)).decode()
    caption = html.escape(captioned.caption)
    return (
        f"<figure><img alt='{caption}' src='data:image/png;base64,{data}'><figcaption>{caption}</figcaption></figure>"
    )
