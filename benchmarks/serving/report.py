"""The section of docs/performance.md: figures beside their targets, and the curve."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.denoiser.ratios import summary
from benchmarks.denoiser.report import with_section
from benchmarks.serving.results import Results
from benchmarks.serving.targets import TARGETS
from vico.concept.atomic import write_atomically

BEGIN, END = "<!-- serving: begin (python -m benchmarks.serving) -->", "<!-- serving: end -->"


def write_report(results: Results, page: Path) -> None:
    """Replace the section of `page`, or add it at its end."""
    before = page.read_text(encoding="utf-8") if page.exists() else "# Performance\n"
    write_atomically(page, with_section(before, section(results), BEGIN, END).encode())


def section(results: Results) -> str:
    """Markdown."""
    samples, settings = results.samples(), results.settings
    head = (
        f"{settings['concepts']} concepts, {settings['slots']} resident, {settings['lanes']} lanes,"
        f" {settings['rounds']} rounds, {results.facts.get('cores', '?')} cores. Median of the rounds (least–greatest)."
    )
    lines = ["| figure | | target | |", "|---|---|---|---|"]
    for key, target in TARGETS.items():
        taken = samples.get(key, [])
        verdict = "not measured" if not taken else "met" if target.met(median(taken)) else "**missed**"
        lines.append(f"| `{key}` | {summary(taken)} | {target} | {verdict} |")
    parts = [head, "\n".join(lines), _curve(samples), _others(samples)]
    return "\n\n".join(part for part in parts if part)


def _curve(samples: dict[str, list[float]]) -> str:
    prefix = "images_per_second_"
    points = {int(key.removeprefix(prefix)): taken for key, taken in samples.items() if key.startswith(prefix)}
    if not points:
        return ""
    lines = ["| lanes | pictures a second |", "|---|---|"]
    return "\n".join([*lines, *(f"| {lanes} | {summary(taken)} |" for lanes, taken in sorted(points.items()))])


def _others(samples: dict[str, Any]) -> str:
    others = [key for key in samples if key not in TARGETS and not key.startswith("images_per_second_")]
    return "Besides: " + "; ".join(f"`{key}` {summary(samples[key])}" for key in others) + "." if others else ""
