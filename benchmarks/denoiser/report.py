"""Table and plot for people: a section of a page between two marks, and a picture beside it."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.denoiser.ratios import Ratio, all_ratios, summary
from benchmarks.denoiser.results import Results
from benchmarks.denoiser.settings import CHUNK, DUELS, REQUEST_STEPS
from benchmarks.denoiser.targets import TARGETS
from vico.concept.atomic import write_atomically

BEGIN, END = "<!-- denoiser: begin (python -m benchmarks.denoiser) -->", "<!-- denoiser: end -->"
_PLOT = "performance-denoiser.svg"
_TOP_OPERATORS = 10


def write_report(results: Results, page: Path) -> None:
    """Replace the section of `page` (made if it is absent), and draw the plot beside it."""
    plot(results, page.with_name(_PLOT))
    before = page.read_text(encoding="utf-8") if page.exists() else "# Performance\n"
    write_atomically(page, with_section(before, section(results)).encode())


def with_section(page: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with `text` between the marks; at its end if it has no marks."""
    block = f"{begin}\n{text}\n{end}"
    if begin not in page or end not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    head, rest = page.split(begin, 1)
    return f"{head}{block}{rest.split(end, 1)[1]}"


def section(results: Results) -> str:
    """Markdown: settings, ratios beside their targets, unit times, memory, profile."""
    settings = results.settings
    counts = [len(taken) for units in results.samples.values() for taken in units.values()] or [0]
    rounds = "–".join(str(count) for count in sorted({min(counts), max(counts)}))
    parts = [
        f"Base `{settings['base']}`, latent {settings['latent']}, {settings['threads']} threads, {rounds}"
        " rounds; the sides of a ratio took turns. Median (least–greatest).",
        f"![ratios beside their targets]({_PLOT})",
        _ratio_table(all_ratios(results)),
        _picture_times(results),
        _unit_table(results),
        _facts(results.facts),
    ]
    if results.failures:
        parts.append("Did not run: " + "; ".join(f"`{name}` ({why})" for name, why in results.failures.items()) + ".")
    return "\n\n".join(part for part in parts if part)


def _ratio_table(ratios: dict[str, Ratio]) -> str:
    lines = ["| ratio | by wall time | by CPU time | target | |", "|---|---|---|---|---|"]
    for key, ratio in ratios.items():
        target = TARGETS.get(key)
        verdict = "" if target is None else ("met" if target.met(ratio) else "**missed**")
        bound = "" if target is None else str(target)
        lines.append(f"| `{key}` | {summary(ratio.samples)} | {summary(ratio.cpu_samples)} | {bound} | {verdict} |")
    return "\n".join(lines)


def _picture_times(results: Results) -> str:
    """Seconds of whole pictures, composed of their steps."""
    clocks = (
        ("ours, exact, 1", "two_stream_n1", "ours.denoiser_n1", True, 1),
        ("ours, fixed context, 1", "two_stream_n1", "ours.denoiser_n1", False, 1),
        ("two-stream on ONNX Runtime, 1", "two_stream_n1", "two_stream_ort.step_n1", False, 1),
        ("ours, exact, 4", "two_stream_n4", "ours.denoiser_n4", True, 4),
        ("two-stream on ONNX Runtime, 4", "two_stream_n4", "two_stream_ort.step_n4", False, 4),
        ("two-stream in diffusers, 4", "eager_n4", "two_stream_eager.step_n4", False, 4),
    )
    lines = [f"| {REQUEST_STEPS} steps, pictures of one prompt | seconds a picture |", "|---|---|"]
    for label, duel, unit, exact, pictures in clocks:
        steps, references = (results.of(duel, name) for name in (unit, "ours.references"))
        if steps and (references or not exact):
            seconds = median(s.wall for s in steps)
            seconds += median(s.wall for s in references) / CHUNK if exact else 0
            lines.append(f"| {label} | {REQUEST_STEPS * seconds / pictures:.3g} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _unit_table(results: Results) -> str:
    lines = ["| duel | unit | seconds (wall) | seconds (CPU) | GFLOP/s |", "|---|---|---|---|---|"]
    for duel in DUELS:
        for unit in duel.units:
            taken = results.of(duel.name, unit.name)
            if taken:
                wall, cpu = [s.wall for s in taken], [s.cpu for s in taken]
                speed = _speed(results, unit.name, sorted(wall)[len(wall) // 2])
                lines.append(f"| {duel.name} | `{unit.name}` | {summary(wall)} | {summary(cpu)} | {speed} |")
    return "\n".join(lines)


def _speed(results: Results, unit: str, seconds: float) -> str:
    """Floating-point operations per second, where they are counted."""
    flops = results.facts.get("flops", {})
    counted = {
        "plain_ort.step": 2 * flops.get("plain_per_row", 0),
        "plain_eager.step": 2 * flops.get("plain_per_row", 0),
        "ours.denoiser_n1": 2 * flops.get("denoiser_per_row", 0),
        "ours.denoiser_n4": 8 * flops.get("denoiser_per_row", 0),
        "gemm.peak": flops.get("gemm", 0),
    }.get(unit, 0)
    return f"{counted / seconds / 1e9:.1f}" if counted else ""


def _facts(facts: dict[str, Any]) -> str:
    lines = []
    peaks = {name.removeprefix("peak_rss."): value for name, value in facts.items() if name.startswith("peak_rss.")}
    if peaks:
        lines.append(
            "Peak memory (GiB): " + ", ".join(f"`{k}` {v / 2**30:.1f}" for k, v in sorted(peaks.items())) + "."
        )
    if "memory" in facts:
        one = facts["memory"][-1]
        marks = ", ".join(f"{name} {value / 2**30:.2f}" for name, value in one["peak_after"].items())
        lines.append(
            f"Serving with two resident concepts: peak {one['peak_bytes'] / 2**30:.2f} GiB, of it caches"
            f" {one['cache_bytes'] / 2**30:.2f}; weights {one['weight_bytes'] / 2**30:.2f}. Peak after: {marks}."
        )
    if "profile" in facts:
        top = facts["profile"]["operators"][:_TOP_OPERATORS]
        lines.append("Where a denoiser step goes: " + ", ".join(f"{o['operator']} {o['share']:.0%}" for o in top) + ".")
    return "\n\n".join(lines)


def plot(results: Results, path: Path) -> None:
    """Every ratio that has a target, with its spread, beside the target's mark."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    found = {key: ratio for key, ratio in all_ratios(results).items() if key in TARGETS}
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * max(len(found), 1) + 1.2))
    for row, (key, ratio) in enumerate(found.items()):
        target = TARGETS[key]
        shares = [value / target.bound for value in (*ratio.spread, ratio.value)]
        colour = "tab:green" if target.met(ratio) else "tab:red"
        axes.plot(shares[:2], [row, row], color=colour, linewidth=3, alpha=0.4)
        axes.plot(shares[2], row, "o", color=colour)
        axes.annotate(f"{ratio.value:.3g} ({target})", (shares[2], row), (0, 6), textcoords="offset points", fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlabel("figure over its target (the line): median and spread")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
