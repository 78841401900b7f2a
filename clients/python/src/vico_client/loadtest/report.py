"""report.html (one file, nothing from the network), report.json and PNG plots, from what a folder holds."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.figure import Figure

from vico_client.files import write_pictures
from vico_client.loadtest import plots
from vico_client.loadtest.figures import Test, read_test, summarise
from vico_client.loadtest.storage import write_text
from vico_client.loadtest.summary import Summary
from vico_client.loadtest.timeline import panels, timeline
from vico_client.loadtest.verdict import Goals


def write_report(folder: Path, goals: Goals) -> Summary:
    """Make the report of a test's folder anew; returns its figures."""
    test = read_test(folder)
    summary = summarise(test, goals)
    write_text(folder / "report.json", summary.model_dump_json(by_alias=True, indent=1) + "\n")
    figures = _figures(test)
    write_plots(folder, figures)
    write_text(folder / "report.html", render("report.html.jinja", plots=embedded(figures), summary=summary))
    return summary


def _figures(test: Test) -> dict[str, Figure]:
    line, warmup = timeline(test), test.run.load.warmup
    return {
        "latency-cdf": plots.latency_cdf(test),
        "requests": plots.requests_over_time(line, warmup),
        "goodput": plots.goodput(line, warmup),
        "throughput-latency": plots.throughput_latency(line),
        "server": plots.server(line, panels(test.samples)),
    }


def write_plots(folder: Path, figures: Mapping[str, Figure]) -> None:
    """`<name>.png` for each."""
    files = [memoryview(plots.png(figure)) for figure in figures.values()]
    write_pictures(files, [folder / f"{name}.png" for name in figures])


def embedded(figures: Mapping[str, Figure]) -> dict[str, str]:
    """Data URIs by name."""
    kind = "data:image/svg+xml;base64,"
    return {name: kind + base64.b64encode(plots.svg(figure)).decode() for name, figure in figures.items()}


def render(template: str, **values: Any) -> str:
    """A page of this package's templates."""
    environment = Environment(
        loader=PackageLoader("vico_client.loadtest"),
        autoescape=select_autoescape(["jinja"], default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = seconds
    return environment.get_template(template).render(**values)


def seconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return "–"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"
