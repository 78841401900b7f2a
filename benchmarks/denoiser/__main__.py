"""`python -m benchmarks.denoiser`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.denoiser.estimate import planned
from benchmarks.denoiser.prepared import Prepared, prepare, read_prepared
from benchmarks.denoiser.ratios import all_ratios, summary
from benchmarks.denoiser.results import BenchmarkError, Results, open_results
from benchmarks.denoiser.run import Runner
from benchmarks.denoiser.settings import DUELS, PROBES, Settings, chosen
from benchmarks.denoiser.targets import TARGETS
from vico.errors import VicoError

_console = Console(stderr=True)
_ROUNDS, _QUICK_ROUNDS = 5, 3


def main(
    json: Annotated[Path, typer.Option("--json", help="The result file; saved after every measurement.")],
    base: Annotated[Path, typer.Option(help="A base, e.g. of `python -m benchmarks.full_size make-base`.")],
    latent: Annotated[int, typer.Option(help="Side of the latent: 64 is 512 x 512 pixels.")] = 64,
    work: Annotated[Path, typer.Option(help="Graphs and concepts made for this; kept.")] = Path("runs/denoiser"),
    only: Annotated[list[str] | None, typer.Option(help="Only these duels or probes.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of every side; 0 = 5, or 3 with --quick.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="Of every contender; 0 = all cores.", min=0)] = 0,
    quick: Annotated[bool, typer.Option(help="Latent 32, three rounds.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with the result file.")] = False,
    export: Annotated[bool, typer.Option(help="Bring the graphs up to date first.")] = True,
    report: Annotated[Path | None, typer.Option(help="Write table and plot into this page.")] = None,
) -> None:
    """Measure a denoiser step beside plain Stable Diffusion's and two-stream ViCo's, side by side in one run."""
    try:
        settings = Settings(
            base, work, 32 if quick else latent, rounds or (_QUICK_ROUNDS if quick else _ROUNDS),
            threads or os.cpu_count() or 1,
        )  # fmt: skip
        results = open_results(json, settings.identity(), resume=resume)
        _run(settings, results, only or [], export=export)
    except VicoError as error:
        _console.print(f"error: {error}", style="red", highlight=False)
        raise typer.Exit(1) from None
    _console.print(_table(results))
    if report is not None:
        from benchmarks.denoiser.report import write_report

        write_report(results, report)


def _run(settings: Settings, results: Results, only: list[str], *, export: bool) -> None:
    unknown = set(only) - {duel.name for duel in DUELS} - set(PROBES)
    if unknown:
        raise BenchmarkError("only", ", ".join(sorted(unknown)), ", ".join([*(d.name for d in DUELS), *PROBES]))
    if export:
        _console.print("preparing graphs and concepts (at full size about 15 minutes once)")
        prepare(settings)
    prepared = read_prepared(settings)
    _probe(settings, prepared, results, "flops", only)
    duels = chosen(name for name in only if name not in PROBES) if not only or set(only) - set(PROBES) else ()
    _announce(settings, results, duels)
    Runner(settings, results, lambda line: _console.print(line, highlight=False)).run(duels)
    for name in ("profile", "memory"):
        _probe(settings, prepared, results, name, only)
    results.save()


def _probe(settings: Settings, prepared: Prepared, results: Results, name: str, only: list[str]) -> None:
    """A look at something, unless it was looked at before."""
    if name in results.facts or (only and name not in only and name != "flops"):
        return
    _console.print(f"looking at {name}")
    if name == "flops":
        from benchmarks.denoiser.flops import count_flops

        results.note(name, count_flops(settings, prepared))
    elif name == "profile":
        from benchmarks.denoiser.profile import profile_denoiser

        results.note(name, profile_denoiser(settings, prepared))
    else:
        from benchmarks.denoiser.memory import probe_memory

        results.note(name, [probe_memory(settings) for _ in range(2)])


def _announce(settings: Settings, results: Results, duels: tuple[object, ...]) -> None:
    from benchmarks.denoiser.small_contenders import Gemm
    from benchmarks.denoiser.worker import timed

    speed = results.facts["flops"]["gemm"] / timed(Gemm(settings).prepare("peak")).wall
    seconds = planned(duels, settings, results, results.facts["flops"]["plain_per_row"], speed)  # type: ignore[arg-type]
    table = Table("duel", "minutes", title=f"planned, at {speed / 1e9:.0f} GFLOP/s in a matrix product")
    for name, value in seconds.items():
        table.add_row(name, f"{value / 60:.1f}")
    table.add_row("together", f"{sum(seconds.values()) / 60:.1f}", style="bold")
    _console.print(table)


def _table(results: Results) -> Table:
    table = Table("ratio", "wall: median (spread)", "by CPU time", "target")
    for key, ratio in all_ratios(results).items():
        table.add_row(key, summary(ratio.samples), summary(ratio.cpu_samples), str(TARGETS.get(key, "")))
    return table


if __name__ == "__main__":
    typer.run(main)
