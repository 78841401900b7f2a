"""`vico loadtest`: exit code 0 passed, 1 failed or refused by the server, 2 wrong usage."""

# No `from __future__ import annotations`: typer reads these annotations, on Python 3.9 too.
import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer

from vico_client.cli import report_error
from vico_client.connection import DEFAULT_ADDRESS, DEFAULT_TIMEOUT
from vico_client.errors import InvalidRequest, VicoClientError
from vico_client.loadtest import options as o
from vico_client.loadtest.agreement import Setup, run_agreement
from vico_client.loadtest.compose import LoadOptions, chosen_workload, composed_plan, open_load
from vico_client.loadtest.errors import LoadTestError, validation_as_usage
from vico_client.loadtest.plan import Plan, read_plan, write_plan
from vico_client.loadtest.rebuild import rebuild
from vico_client.loadtest.report import write_report
from vico_client.loadtest.run import Settings, run_test
from vico_client.loadtest.sweep import Criterion
from vico_client.loadtest.sweep_run import run_sweep
from vico_client.loadtest.tell import progress, tell
from vico_client.loadtest.verdict import Goals

app = typer.Typer(no_args_is_help=True, help="Load a ViCo server and report what its users would have seen.")


@app.command()
def run(
    rate: o.Rate = None,
    users: o.Users = None,
    trace: o.Trace = None,
    plan: o.PlanFile = None,
    address: o.Address = DEFAULT_ADDRESS,
    metrics: o.Metrics = None,
    workload: o.WorkloadFile = None,
    concept: o.Concepts = None,
    duration: o.Duration = 60.0,
    warmup: o.Warmup = 5.0,
    arrivals: o.ArrivalsOption = o.Arrivals.POISSON,
    burst_peak: o.BurstPeak = 4.0,
    burst_calm: o.BurstCalm = 0.25,
    burst_seconds: o.BurstSeconds = 5.0,
    speed: o.Speed = 1.0,
    seed: o.Seed = 0,
    check: o.Check = 0.05,
    check_limit: o.CheckLimit = 20,
    processes: o.Processes = 2,
    timeout: o.Timeout = DEFAULT_TIMEOUT,
    preheat: o.Preheat = True,
    stream: o.Stream = False,
    max_p95: o.MaxP95 = None,
    max_errors: o.MaxErrors = None,
    out: o.Out = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Load the server once: at a --rate, with --users, by a --trace or by a --plan.

    Exit code 1: unexplained errors, other pictures under load than alone, or a goal missed.
    """
    with _exit_codes(as_json=as_json):
        if stream:
            raise LoadTestError("streaming is not supported yet", field="stream", hint="leave it out")
        given = LoadOptions(
            rate, users, trace, speed, arrivals.value, burst_peak, burst_calm, burst_seconds, duration, warmup
        )
        made = _given_or_composed(plan, given, workload, concept, seed, check)
        settings = Settings(address, metrics, processes, timeout, check_limit=check_limit, preheat=preheat, quiet=quiet)
        folder = out or _default_folder()
        run_test(made, settings, folder)
        summary = write_report(folder, Goals(max_p95, max_errors))
        tell(summary, folder, as_json=as_json)
        raise typer.Exit(0 if summary.verdict.passed else 1)


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="File to write: JSON lines.")],
    rate: o.Rate = None,
    users: o.Users = None,
    trace: o.Trace = None,
    workload: o.WorkloadFile = None,
    concept: o.Concepts = None,
    duration: o.Duration = 60.0,
    warmup: o.Warmup = 5.0,
    arrivals: o.ArrivalsOption = o.Arrivals.POISSON,
    burst_peak: o.BurstPeak = 4.0,
    burst_calm: o.BurstCalm = 0.25,
    burst_seconds: o.BurstSeconds = 5.0,
    speed: o.Speed = 1.0,
    seed: o.Seed = 0,
    check: o.Check = 0.05,
) -> None:
    """Write the requests and instants of a test to a file, without a server; `run --plan` sends them."""
    with _exit_codes(as_json=False):
        given = LoadOptions(
            rate, users, trace, speed, arrivals.value, burst_peak, burst_calm, burst_seconds, duration, warmup
        )
        made = composed_plan(given, chosen_workload(workload, concept), seed, check)
        write_plan(made, file)
        typer.echo(str(file))


@app.command()
def sweep(
    address: o.Address = DEFAULT_ADDRESS,
    metrics: o.Metrics = None,
    workload: o.WorkloadFile = None,
    concept: o.Concepts = None,
    duration: Annotated[float, typer.Option(help="Seconds for each rate, warm-up included.")] = 60.0,
    warmup: o.Warmup = 5.0,
    arrivals: o.ArrivalsOption = o.Arrivals.POISSON,
    burst_peak: o.BurstPeak = 4.0,
    burst_calm: o.BurstCalm = 0.25,
    burst_seconds: o.BurstSeconds = 5.0,
    first: Annotated[Optional[float], typer.Option(help="First rate [default: half of one user's].")] = None,
    factor: Annotated[float, typer.Option(help="A rate is good if p95 is below this × the unloaded p95,")] = 3.0,
    follow: Annotated[float, typer.Option(help="and if this share of the offer is answered in time.")] = 0.9,
    resolution: Annotated[float, typer.Option(help="Of the knee: 0.1 is 10 %.")] = 0.1,
    seed: o.Seed = 0,
    processes: o.Processes = 2,
    timeout: o.Timeout = DEFAULT_TIMEOUT,
    out: o.Out = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Find the knee: the largest rate that the server follows without letting its users wait.

    Exit code 1: unexplained errors, or no good rate.
    """
    with _exit_codes(as_json=as_json):
        given = LoadOptions(
            None, None, None, 1.0, arrivals.value, burst_peak, burst_calm, burst_seconds, duration, warmup
        )
        folder = out or _default_folder()
        found = run_sweep(
            chosen_workload(workload, concept),
            open_load(given, first or 1.0),
            Settings(address, metrics, processes, timeout, quiet=quiet),
            folder,
            criterion=_criterion(factor, follow, resolution),
            seed=seed,
            first=first,
            tell=progress(quiet=quiet),
        )
        tell(found, folder, as_json=as_json)
        raise typer.Exit(1 if found.knee is None or any(point.unexplained for point in found.points) else 0)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Of run, sweep or perf-analyzer.")],
    max_p95: o.MaxP95 = None,
    max_errors: o.MaxErrors = None,
    as_json: o.AsJson = False,
) -> None:
    """Make the report of a folder anew from its records, also of a test that crashed."""
    with _exit_codes(as_json=as_json):
        tell(rebuild(folder, Goals(max_p95, max_errors)), folder, as_json=as_json)


@app.command("perf-analyzer")
def perf_analyzer(
    users: Annotated[int, typer.Option(min=1, help="Closed loop: requests under way.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Each tool once a round, in turns.")] = 3,
    cycle: Annotated[int, typer.Option(min=1, help="Different requests, sent over and over.")] = 64,
    tool: Annotated[Optional[Path], typer.Option(help="perf_analyzer [default: on PATH].")] = None,
    address: o.Address = DEFAULT_ADDRESS,
    metrics: o.Metrics = None,
    workload: o.WorkloadFile = None,
    concept: o.Concepts = None,
    duration: Annotated[float, typer.Option(help="Seconds of a round, warm-up included.")] = 60.0,
    warmup: o.Warmup = 5.0,
    seed: o.Seed = 0,
    processes: o.Processes = 2,
    timeout: o.Timeout = DEFAULT_TIMEOUT,
    out: o.Out = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Set our figures beside those of Triton's perf_analyzer. Exit code 1: they differ by more than 10 %."""
    with _exit_codes(as_json=as_json):
        folder = out or _default_folder()
        found = run_agreement(
            Setup(
                address=address,
                users=users,
                duration=duration,
                warmup=warmup,
                rounds=rounds,
                cycle=cycle,
                timeout=timeout,
                seed=seed,
            ),
            chosen_workload(workload, concept),
            Settings(address, metrics, processes, timeout, quiet=quiet),
            folder,
            tool=tool,
            tell=progress(quiet=quiet),
        )
        tell(found, folder, as_json=as_json)
        raise typer.Exit(0 if found.agree else 1)


def _given_or_composed(
    file: Optional[Path],
    given: LoadOptions,
    workload: Optional[Path],
    concepts: Optional[Sequence[str]],
    seed: int,
    check: float,
) -> Plan:
    if file is None:
        return composed_plan(given, chosen_workload(workload, concepts), seed, check)
    if workload or concepts or any(option is not None for option in (given.rate, given.users, given.trace)):
        raise LoadTestError("the plan says it all", field="plan", hint="--plan without load, workload and concepts")
    return read_plan(file)


def _criterion(factor: float, follow: float, resolution: float) -> Criterion:
    with validation_as_usage("sweep"):
        return Criterion(factor=factor, follow=follow, resolution=resolution)


def _default_folder() -> Path:
    return Path(f"loadtest-{datetime.datetime.now():%Y%m%d-%H%M%S}")


@contextmanager
def _exit_codes(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except VicoClientError as error:
        report_error(error, as_json=as_json)
        raise typer.Exit(2 if isinstance(error, (LoadTestError, InvalidRequest)) else 1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
