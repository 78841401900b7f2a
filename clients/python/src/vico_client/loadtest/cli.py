"""`vico loadtest`: exit code 0 passed, 1 failed or refused by the server, 2 wrong usage."""

# No `from __future__ import annotations`: typer reads these annotations, on Python 3.9 too.
import datetime
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from vico_client.commands import access as a
from vico_client.commands.outcome import exit_codes
from vico_client.errors import InvalidRequest
from vico_client.loadtest import options as o
from vico_client.loadtest.agreement import Setup, run_agreement
from vico_client.loadtest.compose import LoadOptions, chosen_workload, composed_plan, open_load
from vico_client.loadtest.errors import LoadTestError, validation_as_usage
from vico_client.loadtest.plan import Plan, read_plan, write_plan
from vico_client.loadtest.rebuild import rebuild
from vico_client.loadtest.report import write_report
from vico_client.loadtest.route import read_tenants
from vico_client.loadtest.run import Settings, run_test
from vico_client.loadtest.sweep import Criterion
from vico_client.loadtest.sweep_run import run_sweep
from vico_client.loadtest.tell import progress, tell
from vico_client.loadtest.verdict import Goals
from vico_client.settings import DEFAULT_ADDRESS, DEFAULT_TIMEOUT

app = typer.Typer(no_args_is_help=True, help="Load a ViCo server and report what its users would have seen.")


@app.command()
def run(
    context: typer.Context,
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
    tls_ca: a.TlsCa = None,
    tls_cert: a.TlsCert = None,
    tls_key: a.TlsKey = None,
    tenants: o.TenantsFile = None,
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
        made = _given_or_composed(plan, LoadOptions.of(context.params), workload, concept, seed, check)
        folder = out or _default_folder()
        run_test(made, _settings(context.params), folder)
        summary = write_report(folder, Goals(max_p95, max_errors))
        tell(summary, folder, as_json=as_json)
        raise typer.Exit(0 if summary.verdict.passed else 1)


@app.command()
def plan(
    context: typer.Context,
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
    as_json: o.AsJson = False,
) -> None:
    """Write the requests and instants of a test to a file, without a server; `run --plan` sends them."""
    with _exit_codes(as_json=as_json):
        made = composed_plan(LoadOptions.of(context.params), chosen_workload(workload, concept), seed, check)
        write_plan(made, file)
        typer.echo(json.dumps({"plan": str(file), "requests": len(made.requests)}) if as_json else str(file))


@app.command()
def sweep(
    context: typer.Context,
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
    first: Annotated[Optional[float], typer.Option(help="First rate; default: half of one user's.")] = None,
    factor: Annotated[float, typer.Option(help="A rate is good if p95 is below this × the unloaded p95,")] = 3.0,
    follow: Annotated[float, typer.Option(help="and if this share of the offer is answered in time.")] = 0.9,
    resolution: Annotated[float, typer.Option(help="Of the knee: 0.1 is 10 %.")] = 0.1,
    seed: o.Seed = 0,
    processes: o.Processes = 2,
    timeout: o.Timeout = DEFAULT_TIMEOUT,
    stream: o.Stream = False,
    tls_ca: a.TlsCa = None,
    tls_cert: a.TlsCert = None,
    tls_key: a.TlsKey = None,
    tenants: o.TenantsFile = None,
    out: o.Out = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
) -> None:
    """Find the knee: the largest rate that the server follows without letting its users wait.

    Exit code 1: unexplained errors, or no good rate.
    """
    with _exit_codes(as_json=as_json):
        folder = out or _default_folder()
        found = run_sweep(
            chosen_workload(workload, concept),
            open_load(LoadOptions.of(context.params), first or 1.0),
            _settings(context.params),
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
    context: typer.Context,
    users: Annotated[int, typer.Option(min=1, help="Closed loop: requests under way.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Each tool once a round, in turns.")] = 3,
    cycle: Annotated[int, typer.Option(min=1, help="Different requests, sent over and over.")] = 64,
    tool: Annotated[Optional[Path], typer.Option(help="perf_analyzer; default: on PATH.")] = None,
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
            Setup(**{name: context.params[name] for name in Setup.model_fields}),
            chosen_workload(workload, concept),
            _settings(context.params),
            folder,
            tool=tool,
            tell=progress(quiet=quiet),
        )
        tell(found, folder, as_json=as_json)
        raise typer.Exit(0 if found.agree else 1)


def _settings(given: Mapping[str, Any]) -> Settings:
    """given: a command's parameters by name; perf-analyzer has none for TLS and tenants, and asks in the clear."""
    names = ("address", "metrics", "processes", "timeout", "check_limit", "preheat", "quiet", "stream")
    more: dict[str, Any] = {}
    if "tenants" in given:
        tls = a.tls_of(given["tls_ca"], given["tls_cert"], given["tls_key"])
        more = {"tls": tls, "tenants": read_tenants(given["tenants"])}
    return Settings(**{name: given[name] for name in names if name in given}, **more)


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


def _exit_codes(*, as_json: bool) -> AbstractContextManager[None]:
    return exit_codes(as_json=as_json, usage=(LoadTestError, InvalidRequest))
