"""sweep.html, sweep.json and the curve as PNG."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from vico_client.loadtest.plots import BLUE, GREEN, GREY, ORANGE, RED, STYLE
from vico_client.loadtest.report import embedded, render, write_plots
from vico_client.loadtest.storage import write_text
from vico_client.loadtest.summary import Summary
from vico_client.loadtest.sweep import Sweep


def write_sweep_report(folder: Path, sweep: Sweep, unloaded: Summary) -> None:
    """Write the three into the sweep's folder."""
    write_text(folder / "sweep.json", sweep.model_dump_json(by_alias=True, indent=1) + "\n")
    figures = {"throughput-latency": curve(sweep)}
    write_plots(folder, figures)
    page = render("sweep.html.jinja", sweep=sweep, unloaded=unloaded, plots=embedded(figures))
    write_text(folder / "sweep.html", page)


def curve(sweep: Sweep) -> Figure:
    """What was answered, and how late, against what was offered."""
    points = sorted(sweep.points, key=lambda point: point.rate)
    rates = [point.rate for point in points]
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 5))
        answers, latency = figure.subplots(2, 1, sharex=True)
        answers.plot([0, *rates], [0, *rates], "--", color=GREY, linewidth=1, label="offered")
        answers.plot(rates, [point.throughput for point in points], "o-", color=BLUE, label="answered")
        answers.plot(rates, [point.goodput for point in points], ".-", color=GREEN, label="within the deadline")
        answers.set(title="Throughput", ylabel="requests a second")
        for name, colour in (("p50", BLUE), ("p95", ORANGE), ("p99", RED)):
            latency.plot(
                rates, [getattr(point, name) for point in points], "o-", color=colour, label=name, markersize=4
            )
        if sweep.unloaded_p95 is not None:
            limit = sweep.criterion.factor * sweep.unloaded_p95
            latency.axhline(limit, color=ORANGE, linestyle=":", linewidth=1)
            note = f"{sweep.criterion.factor:g} × unloaded p95"
            latency.annotate(note, (1, limit), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
        latency.set(title="Latency", ylabel="seconds", xlabel="offered requests a second")
        for axes in (answers, latency):
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
            if sweep.knee is not None:
                axes.axvline(sweep.knee, color=GREY, linewidth=1)
            axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, fontsize=8)
        return figure
