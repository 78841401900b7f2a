"""What the server gives and costs, against the real one: `python -m benchmarks.serving --json FILE`.

`vico serve` runs as it is, Triton, front door and supervisor; the SDK's load generator asks; a probe in the process of
each stage writes down when graphs ran and steps ended. Both sides of a ratio are taken in turns, round by round. The
whole takes about 23 minutes on an idle machine with two cores (the planned time is printed first); the file is saved
after every round, and the same command goes on with it. `--quick` shows in a minute or two that everything runs; its
figures say nothing.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.serving.bench import Bench
from benchmarks.serving.lanes import CURVE, MIXED
from benchmarks.serving.latency import LATENCY
from benchmarks.serving.overhead import LOOP, OVERHEAD
from benchmarks.serving.overload import OVERLOAD
from benchmarks.serving.prepared import ROOT, make_concepts, toy_graphs
from benchmarks.serving.report import write_report
from benchmarks.serving.results import BenchmarkError, open_results
from benchmarks.serving.settings import FULL, QUICK
from benchmarks.serving.swapping import SWAPPING
from benchmarks.serving.targets import TARGETS
from vico.concept import read_graphset
from vico.errors import VicoError

MEASUREMENTS = (OVERHEAD, LOOP, CURVE, MIXED, SWAPPING, OVERLOAD, LATENCY)
"""The short ones first; that of two servers last."""


def main(
    json: Annotated[Path, typer.Option("--json", help="File for the figures; gone on with if it is there.")],
    graphs: Annotated[
        Path | None, typer.Option(help="Folder made by `vico export` [default: the toy base's, exported once].")
    ] = None,
    package: Annotated[
        Path | None, typer.Option(help="A trained concept that all are made of [default: one never trained].")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(one.name for one in MEASUREMENTS)}; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Short, to see that it runs: the figures say nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Page whose section of this benchmark is written anew.")] = None,
) -> None:
    """Measure, and say which targets are met."""
    settings = QUICK if quick else FULL
    unknown = set(only or ()) - {one.name for one in MEASUREMENTS}
    if unknown:
        raise BenchmarkError("only", f"no measurement {min(unknown)!r}", ", ".join(one.name for one in MEASUREMENTS))
    graphs = graphs or toy_graphs(ROOT / "runs" / "toy-graphs")
    identity = settings.identity() | {"base": read_graphset(graphs).base_name}
    results = open_results(json, identity)
    results.note("cores", os.cpu_count())
    print(f"about {settings.minutes:.0f} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="vico-concepts-") as folder, ExitStack() as stack:
        registry, others = Path(folder) / "registry", Path(folder) / "others"
        bench = Bench(settings, results, graphs, registry, others, lambda line: print(line, flush=True), stack)
        make_concepts(graphs, registry, bench.ids, package)
        make_concepts(graphs, others, bench.ids, package, version=1)
        for measurement in MEASUREMENTS:
            if not only or measurement.name in only:
                measurement.run(bench)
    for key, target in TARGETS.items():
        if taken := results.samples().get(key):
            value = median(taken)
            print(f"{key:28} {value:8.3g}   {target!s:8} {'met' if target.met(value) else 'missed'}")
    if report is not None:
        write_report(results, report)


if __name__ == "__main__":
    try:
        typer.run(main)
    except VicoError as error:
        raise SystemExit(f"error {error}") from None
