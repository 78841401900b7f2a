"""The report's plots. Each function draws one figure; matplotlib without a window and without global state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from vico_client.loadtest.figures import Test
from vico_client.loadtest.timeline import Panel, Timeline

BLUE, GREEN, ORANGE, RED, GREY = "#2f6db3", "#3a9a5b", "#e08a1e", "#c63d3d", "#8a8f98"
STYLE: Any = {
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "legend.frameon": False, "svg.hashsalt": "vico", "figure.constrained_layout.use": True,
}  # fmt: skip


def latency_cdf(test: Test) -> Figure:
    """Share of answers within a time, from when due and from when sent; the slow tail on its own scale."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2))
        whole, tail = figure.subplots(1, 2)
        answered = [record for record in test.measured if record.ok]
        for axes in (whole, tail):
            for values, colour, label in (
                ([record.latency for record in answered], BLUE, "from when due"),
                ([record.done - record.sent for record in answered], ORANGE, "from when sent"),
            ):
                if values:
                    # the middle of each step: 1 is infinitely far up on the tail's scale
                    share = (np.arange(len(values)) + 0.5) / len(values)
                    axes.step(np.sort(values), share, where="post", color=colour, label=label)
            axes.set_xlabel("seconds")
        whole.set(title="Latency of answers", ylabel="share of answers", ylim=(0, 1.02))
        whole.set_xlim(left=0)
        tail.set_title("Its tail")
        if answered:
            tail.set(yscale="logit", ylim=(0.5, _tail_top(len(answered))))
        tail.set_yticks([share for share in (0.5, 0.9, 0.99, 0.999, 0.9999) if share < _tail_top(len(answered))])
        tail.yaxis.set_major_formatter(lambda share, _: f"{share * 100:g} %")
        tail.yaxis.set_minor_formatter(lambda share, _: "")
        _legend_or_note(whole, "no answers")
        return figure


def _tail_top(count: int) -> float:
    return 1 - 0.5 / max(count, 5)


def requests_over_time(line: Timeline, warmup: float) -> Figure:
    """Offered, answered, refused and failed requests; how many were under way; latencies."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 6.4))
        rates, flight, latency = figure.subplots(3, 1, sharex=True)
        for values, colour, label in (
            (line.offered, GREY, "due"),
            (line.answered, BLUE, "answered"),
            (line.refused, ORANGE, "refused or too late"),
            (line.failed, RED, "failed, unexplained"),
        ):
            rates.stairs(values, line.edges, color=colour, label=label, linewidth=1.6)
        rates.set(title="Requests", ylabel="a second")
        flight.stairs(line.in_flight, line.edges, color=BLUE, fill=True, alpha=0.35)
        flight.set(title="Requests under way", ylabel="mean")
        latency.plot(line.centres, line.p95, ".-", color=ORANGE, label="p95")
        latency.plot(line.centres, line.p50, ".-", color=BLUE, label="p50")
        latency.set(title="Latency of the answers that came then", ylabel="seconds", xlabel="seconds from the start")
        latency.set_ylim(bottom=0)
        for axes in (rates, flight, latency):
            axes.axvspan(0, warmup, color=GREY, alpha=0.15, linewidth=0)
        rates.set_ylim(bottom=0)
        _legend_above(rates)
        _legend_above(latency)
        return figure


def goodput(line: Timeline, warmup: float) -> Figure:
    """Answers within their deadline among all that were asked for."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 2.4))
        axes = figure.subplots()
        axes.stairs(line.offered, line.edges, color=GREY, label="due")
        axes.stairs(line.in_time, line.edges, color=GREEN, fill=True, alpha=0.4, label="answered within the deadline")
        axes.axvspan(0, warmup, color=GREY, alpha=0.15, linewidth=0)
        axes.set(title="Goodput", ylabel="requests a second", xlabel="seconds from the start")
        _legend_above(axes)
        return figure


def throughput_latency(line: Timeline) -> Figure:
    """Each bin of the test a point: what was answered against how long it took."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3))
        axes = figure.subplots()
        axes.scatter(line.answered, line.p95, s=16, color=ORANGE, label="p95")
        axes.scatter(line.answered, line.p50, s=16, color=BLUE, label="p50")
        axes.set(title="Throughput against latency", xlabel="answers a second", ylabel="seconds")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        _legend_or_note(axes, "no answers")
        return figure


def server(line: Timeline, panels: Sequence[Panel]) -> Figure:
    """Lanes as the replies tell, and the server's metrics; a panel says so if the server has none."""
    with rc_context(STYLE):
        rows = (len(panels) + 2) // 2
        figure = Figure(figsize=(8, 2.1 * rows))
        cells = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
        cells[0].stairs(np.nan_to_num(line.lanes), line.edges, color=BLUE, fill=True, alpha=0.4)
        cells[0].set(title="Most lanes in a step (replies)", ylabel="lanes")
        _legend_or_note(cells[0], "" if np.isfinite(line.lanes).any() else "the replies do not tell")
        for axes, panel in zip(cells[1:], panels):
            for label, (at, values) in panel.lines.items():
                axes.plot(at, values, ".-", markersize=3, linewidth=1, label=label)
            axes.set(title=panel.title, ylabel=panel.unit)
            axes.set_ylim(0, None if any(np.nansum(values) > 0 for _, values in panel.lines.values()) else 1)
            _legend_or_note(axes, "" if panel.lines else "the server has no such metric,\nor none was scraped")
        for axes in cells[len(panels) + 1 :]:
            axes.axis("off")
        for axes in cells[-2:]:
            axes.set_xlabel("seconds from the start")
        return figure


def png(figure: Figure) -> bytes:
    """As a PNG file."""
    return _saved(figure, "png", dpi=130)


def svg(figure: Figure) -> bytes:
    """As an SVG file; the same figure gives the same bytes."""
    with rc_context(STYLE):
        return _saved(figure, "svg", metadata={"Date": None})


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def _legend_above(axes: Any) -> None:
    """Beside the title, where it hides nothing."""
    axes.legend(ncols=4, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, fontsize=8)


def _legend_or_note(axes: Any, note: str) -> None:
    """A legend if there is anything in it; else the note in the middle."""
    handles, labels = axes.get_legend_handles_labels()
    if handles and len(labels) <= 8:
        axes.legend(fontsize=7, loc="best")
    elif note:
        axes.set_yticks([])
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center", color=GREY)
