"""From the command line's options to a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vico_client.loadtest.errors import LoadTestError, validation_as_usage
from vico_client.loadtest.load import ClosedLoad, OpenLoad, TraceLoad
from vico_client.loadtest.plan import Plan, make_plan, make_trace_plan
from vico_client.loadtest.trace import read_trace
from vico_client.loadtest.workload import Workload, read_workload


@dataclass(frozen=True)
class LoadOptions:
    """As on the command line; exactly one of rate, users and trace is given."""

    arrivals: str
    burst_peak: float
    burst_calm: float
    burst_seconds: float
    duration: float
    warmup: float
    rate: float | None = None
    users: int | None = None
    trace: Path | None = None
    speed: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> LoadOptions:
        """given: a command's parameters by name; those that it lacks keep their defaults."""
        named = {spec.name: given[spec.name] for spec in fields(cls) if spec.name in given}
        named["arrivals"] = getattr(named["arrivals"], "value", named["arrivals"])
        if named.get("trace") is not None:
            named["trace"] = Path(named["trace"])  # older releases of typer give text
        return cls(**named)


def chosen_workload(path: Path | None, concepts: Sequence[str] | None) -> Workload:
    """The workload of the file, or the shipped one, with the concepts named on the command line."""
    return read_workload(path).with_concepts(list(concepts or ()))


def composed_plan(options: LoadOptions, workload: Workload, seed: int, check: float) -> Plan:
    """The plan; LoadTestError names the option that is wrong."""
    if sum(option is not None for option in (options.rate, options.users, options.trace)) != 1:
        raise LoadTestError("which load?", field="load", hint="exactly one of --rate, --users, --trace and --plan")
    if options.trace is not None:
        return _trace_plan(options, options.trace, workload, seed, check)
    if options.users is not None:
        with validation_as_usage("load"):
            closed = ClosedLoad(
                users=options.users, think=workload.think, duration=options.duration, warmup=options.warmup
            )
        return make_plan(closed, workload, seed, check)
    return make_plan(open_load(options, options.rate or 0.0), workload, seed, check)


def open_load(options: LoadOptions, rate: float) -> OpenLoad:
    """The open loop of the options at a rate of requests a second."""
    with validation_as_usage("load"):
        return OpenLoad(
            arrivals=options.arrivals,  # type: ignore[arg-type]
            rate=rate,
            duration=options.duration,
            warmup=options.warmup,
            burst_peak=options.burst_peak,
            burst_calm=options.burst_calm,
            burst_seconds=options.burst_seconds,
        )


def _trace_plan(options: LoadOptions, path: Path, workload: Workload, seed: int, check: float) -> Plan:
    if not 0 < options.speed < float("inf"):
        raise LoadTestError(f"{options.speed}", field="speed", hint="a number above 0")
    rows = read_trace(path, options.speed)
    length = max(rows[-1].at, 1e-3) * (1 + 1e-9)  # the last row is in the window, too
    with validation_as_usage("load"):
        load = TraceLoad(
            name=path.name, speed=options.speed, rate=len(rows) / length, duration=length, warmup=options.warmup
        )
    return make_trace_plan(load, rows, workload, seed, check)
