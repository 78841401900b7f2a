"""The options of `vico loadtest`, each written once."""

# No `from __future__ import annotations`: typer reads these annotations, on Python 3.9 too.
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer


class Arrivals(str, Enum):
    """How requests of an open loop come."""

    POISSON = "poisson"
    BURSTY = "bursty"
    CONSTANT = "constant"


_FILE = {"exists": True, "dir_okay": False}

Address = Annotated[str, typer.Option("--address", "-a", envvar="VICO_ADDRESS", help="The server's gRPC address.")]
Metrics = Annotated[
    Optional[str], typer.Option(envvar="VICO_METRICS", help="host:port of the server's Prometheus metrics, read along.")
]
WorkloadFile = Annotated[
    Optional[Path], typer.Option("--workload", "-w", help="TOML: what requests look like; default: the shipped one.")
]
Concepts = Annotated[
    Optional[list[str]], typer.Option("--concept", "-c", help="Concept, popular ones first; 'toy-{0..9}' is ten.")
]
Duration = Annotated[float, typer.Option(help="Seconds in which requests are sent, warm-up included.")]
Warmup = Annotated[float, typer.Option(help="Seconds at the beginning that no figure counts.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same requests at the same instants.")]
Processes = Annotated[int, typer.Option(min=1, max=64, help="Sending processes.")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds, for requests without a deadline.")]
Out = Annotated[Optional[Path], typer.Option("--out", "-o", help="New folder for all results; default: by the time.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object, errors included.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No live view.")]
Rate = Annotated[Optional[float], typer.Option(help="Open loop: requests a second.")]
Users = Annotated[Optional[int], typer.Option(help="Closed loop: users who wait for their answers.")]
Trace = Annotated[Optional[Path], typer.Option(help="Replay a CSV file with a column `at` (seconds).")]
Speed = Annotated[float, typer.Option(help="Of a trace: 2 is twice as fast as recorded.")]
ArrivalsOption = Annotated[Arrivals, typer.Option("--arrivals", help="How an open loop's requests come.")]
BurstPeak = Annotated[float, typer.Option(help="Bursty: rate in a burst, times the mean.")]
BurstCalm = Annotated[float, typer.Option(help="Bursty: rate between bursts, times the mean.")]
BurstSeconds = Annotated[float, typer.Option(help="Bursty: mean length of a burst.")]
Check = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the requests whose pictures are compared with the same alone.")
]
CheckLimit = Annotated[int, typer.Option(min=0, help="Requests compared at most.")]
Preheat = Annotated[bool, typer.Option(help="Ask once for each concept before the start.")]
Stream = Annotated[bool, typer.Option("--stream", help="Ask for progress and previews, and time the first ones.")]
TenantsFile = Annotated[
    Optional[Path],
    typer.Option("--tenants", help="Lines `<name> <API key>`: they take turns; default: the key of VICO_API_KEY."),
]
MaxP95 = Annotated[Optional[float], typer.Option(help="Goal: p95 latency in seconds; missed = exit code 1.")]
MaxErrors = Annotated[
    Optional[float], typer.Option(min=0, max=1, help="Goal: share of requests that may fail; missed = exit code 1.")
]
PlanFile = Annotated[Optional[Path], typer.Option("--plan", help="Run this plan (of `loadtest plan`) instead.")]
