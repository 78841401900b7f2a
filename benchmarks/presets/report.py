"""The table of presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.denoiser.report import with_section
from vico.concept.atomic import write_atomically

BEGIN, END = "<!-- presets: begin (python -m benchmarks.presets) -->", "<!-- presets: end -->"


def table(content: Mapping[str, Any], rows: Mapping[str, int]) -> str:
    """Markdown: one line per candidate."""
    settings = content["settings"]
    lines = [
        f"Base `{settings['base']}`, {settings['prompts']} prompts, guidance {settings['guidance_scale']:g}; every"
        f" candidate from the same noise, taking turns. Distance: 1 − cosine of EfficientNet-Lite2 features, to the"
        f" picture of `{settings['reference']}` in float32.",
        "",
        "| candidate | U-Net rows a picture | CPU time (spread) | feature distance | text | identity |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in content["candidates"].items():
        time = found["time_over_reference"]
        spread = f"{time['value']:.2f} × ({time['spread'][0]:.2f}–{time['spread'][1]:.2f})"
        shown = [f"{found[key]:.3f}" if key in found else "–" for key in ("distance", "text", "identity")]
        lines.append(f"| {name} | {rows.get(name, '–')} | {spread} | {' | '.join(shown)} |")
    return "\n".join(lines)


def write_report(content: Mapping[str, Any], rows: Mapping[str, int], page: Path | None) -> str:
    """The table; also between its marks in `page`, if one is given."""
    text = table(content, rows)
    if page is not None:
        before = page.read_text(encoding="utf-8") if page.exists() else "# Performance\n"
        write_atomically(page, with_section(before, text, BEGIN, END).encode())
    return text
