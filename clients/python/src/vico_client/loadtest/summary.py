"""The figures of one test, made from its records. The JSON form is docs/loadtest.schema.json."""

# No `from __future__ import annotations`: pydantic reads these annotations, on Python 3.9 too.
from typing import Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field

from vico_client.loadtest.load import Load


class Part(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Durations(Part):
    """Of a set of durations, in seconds; null where the set is empty. From an HDR histogram of three digits."""

    count: int
    mean: Optional[float]
    p50: Optional[float]
    p90: Optional[float]
    p95: Optional[float]
    p99: Optional[float]
    p999: Optional[float]
    max: Optional[float]


class Document(Part):
    """A file of its own: says of which kind and version it is."""

    schema_name: str = Field(alias="schema")
    version: Literal[1] = 1

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Run(Document):
    """What was run: run.json. started: UTC, ISO 8601; timeout: seconds, of requests without a deadline."""

    schema_name: Literal["vico.loadtest.run"] = Field(default="vico.loadtest.run", alias="schema")
    run_id: str
    started: str
    address: str
    metrics: Optional[str]
    load: Load
    seed: int
    planned: Optional[int] = Field(description="requests in the plan; null in a closed loop")
    processes: int
    timeout: float
    check_share: float
    stream: bool = False
    tenants: list[str] = Field(default=[], description="who took turns, each with an API key; none if there was one")
    host: dict[str, Any] = Field(description="of the load generator: cores, python, vico_client")


class End(Part):
    """How it ended: end.json. seconds: from the start until the last answer; cpu: shares of a core, by process."""

    seconds: float
    interrupted: bool
    failures: list[str]
    cpu: list[float]


class ErrorCount(Part):
    """Requests that failed in one way. explained: by load (refused, or too late)."""

    error: str
    status: str
    count: int
    explained: bool
    example: str


class Counts(Part):
    """Requests. warmup ones are in no other figure; unsent: planned, but the test was stopped before."""

    warmup: int
    measured: int
    ok: int
    in_time: int
    failed: int
    unexplained: int
    unsent: int


class Rates(Part):
    """A second, over the measured window. offered: due in it; throughput, images, goodput: answered in it."""

    window_seconds: float
    offered: float
    throughput: float
    images: float
    goodput: float


class Lanes(Part):
    """The most lanes of a step that a request took part in, as the replies tell."""

    mean: float
    max: int


class Correctness(Part):
    """Pictures under load against the same requests alone. difference: of a pixel, 0 … 255; psnr: decibels."""

    compared: int
    identical: int
    equal: int
    max_difference: Optional[int]
    min_psnr: Optional[float]
    problems: list[str]


class ServerMetrics(Part):
    """The server's Prometheus metrics. increase: of counters over the test, by name with labels."""

    scrapes: int
    names: list[str]
    increase: dict[str, float]


class Verdict(Part):
    """Whether the test passed, and if not, why."""

    passed: bool
    reasons: list[str]


class Summary(Document):
    """report.json. latency: from when a request was due to its answer (no coordinated omission); service: from when
    it was sent; lateness: of the load generator itself, sent minus due; failed: until a failure."""

    schema_name: Literal["vico.loadtest.report"] = Field(default="vico.loadtest.report", alias="schema")
    run: Run
    end: Optional[End] = Field(description="null if the test never ended (a crash)")
    counts: Counts
    rates: Rates
    latency: Durations
    service: Durations
    lateness: Durations
    failed: Durations
    warm: Durations
    cold: Durations
    first_preview: Optional[Durations] = Field(
        description="from due to the first preview; null if nothing was streamed"
    )
    first_picture: Optional[Durations] = Field(
        description="from due to the first picture; null if nothing was streamed"
    )
    tenants: dict[str, Durations] = Field(description="latency of each, where several took turns")
    latency_histogram: str = Field(description="HdrHistogram V2, compressed, base64; microseconds")
    errors: list[ErrorCount]
    stages: dict[str, Durations] = Field(description="seconds inside the server, by stage, as the replies tell")
    lanes: Optional[Lanes]
    correctness: Optional[Correctness]
    server: ServerMetrics
    verdict: Verdict
