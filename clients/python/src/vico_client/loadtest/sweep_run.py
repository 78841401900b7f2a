"""A sweep from first to last rate. Its folder holds one test's folder per rate, so that it can be reported again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vico_client.loadtest.errors import LoadTestError, validation_as_usage
from vico_client.loadtest.figures import read_test, summarise
from vico_client.loadtest.load import ClosedLoad, OpenLoad
from vico_client.loadtest.plan import make_plan
from vico_client.loadtest.report import write_report
from vico_client.loadtest.run import Settings, run_test
from vico_client.loadtest.storage import new_folder, read_json, write_json
from vico_client.loadtest.summary import Summary
from vico_client.loadtest.sweep import Criterion, Point, Sweep, bounded, judge_point, knee, next_rate
from vico_client.loadtest.sweep_report import write_sweep_report
from vico_client.loadtest.verdict import Goals
from vico_client.loadtest.workload import Workload

UNLOADED = "unloaded"
CRITERION = "criterion.json"


def run_sweep(
    workload: Workload,
    load: OpenLoad,
    settings: Settings,
    folder: Path,
    *,
    criterion: Criterion,
    seed: int,
    first: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Sweep:
    """Measure one user alone, then rate after rate; `load` gives all but the rate, `first` the first one.

    The report is written after every rate. LoadTestError if one user alone gets no answers.
    """
    new_folder(folder)
    write_json(folder / CRITERION, criterion.model_dump())
    tell("one user alone")
    alone = ClosedLoad(users=1, duration=load.duration, warmup=load.warmup)
    stopped = run_test(make_plan(alone, workload, seed), settings, folder / UNLOADED)
    summary = write_report(folder / UNLOADED, Goals())
    if summary.latency.p95 is None or not summary.latency.mean:
        reasons = "; ".join(summary.verdict.reasons)
        raise LoadTestError(f"one user alone gets no answers: {reasons}", field="sweep", hint="a server that answers")
    sweep = report_sweep(folder)
    begin = first or 0.5 / summary.latency.mean
    while not stopped and (rate := next_rate(sweep.points, begin, criterion)) is not None:
        tell(f"{rate:.3g} requests/s")
        plan = make_plan(load.model_copy(update={"rate": rate, "exact": True}), workload, seed + len(sweep.points) + 1)
        place = folder / f"point-{len(sweep.points) + 1:02}"
        stopped = run_test(plan, settings, place)
        write_report(place, Goals())
        sweep = report_sweep(folder)
    return sweep


def report_sweep(folder: Path) -> Sweep:
    """Make the report of a sweep's folder anew, from the records of its tests."""
    with validation_as_usage("folder"):
        criterion = Criterion.model_validate(read_json(folder / CRITERION))
    unloaded = _summary(folder / UNLOADED)
    points = [_point(place, unloaded, criterion) for place in sorted(folder.glob("point-*"))]
    sweep = Sweep(
        criterion=criterion,
        unloaded_p50=unloaded.latency.p50,
        unloaded_p95=unloaded.latency.p95,
        points=points,
        knee=knee(points),
        bounded=bounded(points),
    )
    write_sweep_report(folder, sweep, unloaded)
    return sweep


def _summary(place: Path) -> Summary:
    return summarise(read_test(place), Goals())


def _point(place: Path, unloaded: Summary, criterion: Criterion) -> Point:
    summary = _summary(place)
    rate = summary.run.load.rate  # type: ignore[union-attr]
    return judge_point(rate, summary, unloaded.latency.p95 or 0.0, criterion, place.name)
