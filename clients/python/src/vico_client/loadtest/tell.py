"""The end of a command: a few lines for people, or one JSON object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from vico_client.loadtest.agreement import Agreement
from vico_client.loadtest.report import seconds
from vico_client.loadtest.summary import Summary
from vico_client.loadtest.sweep import Point, Sweep


def tell(result: Summary | Sweep | Agreement, folder: Path, *, as_json: bool) -> None:
    """Print the result; the path of its page is the last line on standard output."""
    if as_json:
        typer.echo(result.model_dump_json(by_alias=True))
        return
    lines, page = _lines(result)
    for line in lines:
        typer.echo(line, err=True)
    typer.echo(str(folder / page))


def progress(*, quiet: bool) -> Callable[[str], None]:
    """Says what is measured next, on standard error."""
    return lambda text: None if quiet else typer.secho(f"— {text}", err=True, dim=True)


def _lines(result: Summary | Sweep | Agreement) -> tuple[list[str], str]:
    if isinstance(result, Summary):
        return _of_summary(result), "report.html"
    if isinstance(result, Sweep):
        return _of_sweep(result), "sweep.html"
    return _of_agreement(result), "agreement.html"


def _of_summary(summary: Summary) -> list[str]:
    rates, latency, counts, check = summary.rates, summary.latency, summary.counts, summary.correctness
    lines = [
        f"{rates.throughput:.3g} answers/s of {rates.offered:.3g}/s due, goodput {rates.goodput:.3g}/s",
        f"latency p50 {seconds(latency.p50)}, p95 {seconds(latency.p95)}, p99 {seconds(latency.p99)}; "
        f"the load generator was late by {seconds(summary.lateness.p99)} (p99)",
        f"{counts.failed} errors of {counts.measured} requests, {counts.unexplained} unexplained",
    ]
    if summary.first_preview and summary.first_picture:
        first = f"preview p50 {seconds(summary.first_preview.p50)}, picture p50 {seconds(summary.first_picture.p50)}"
        lines.append(f"streams: first {first}")
    lines += [f"{name}: p50 {seconds(own.p50)}, p95 {seconds(own.p95)}" for name, own in summary.tenants.items()]
    if check:
        lines.append(f"{check.compared} compared with the same alone: {check.identical} identical, {check.equal} equal")
    verdict = "passed" if summary.verdict.passed else "failed: " + "; ".join(summary.verdict.reasons)
    return [*lines, verdict]


def _of_sweep(sweep: Sweep) -> list[str]:
    rows = [
        f"{point.rate:8.3g}/s  answered {point.throughput:8.3g}/s  p95 {seconds(point.p95):>8}  {_word(point)}"
        for point in sorted(sweep.points, key=lambda point: point.rate)
    ]
    if sweep.knee is None:
        return [*rows, "no rate was good"]
    return [*rows, f"the knee is {'at' if sweep.bounded else 'above'} {sweep.knee:.3g} requests/s"]


def _word(point: Point) -> str:
    return point.reason or "good"


def _of_agreement(agreement: Agreement) -> list[str]:
    rows = [f"{row.figure:10}  ours / perf_analyzer {row.ratio:.3f}" for row in agreement.ratios]
    words = "agree" if agreement.agree else "do not agree"
    return [*rows, f"they {words} within {agreement.tolerance:.0%}"]
