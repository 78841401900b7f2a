"""From a test's folder to its figures."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vico_client.loadtest.check import Comparison
from vico_client.loadtest.errors import validation_as_usage
from vico_client.loadtest.histogram import Histogram
from vico_client.loadtest.records import Record, read_records
from vico_client.loadtest.scrape import Sample, read_samples
from vico_client.loadtest.storage import read_json
from vico_client.loadtest.summary import (
    Correctness,
    Counts,
    Durations,
    End,
    ErrorCount,
    Lanes,
    Rates,
    Run,
    ServerMetrics,
    Summary,
)
from vico_client.loadtest.verdict import Goals, judge


@dataclass(frozen=True)
class Test:
    """All that a test left behind."""

    run: Run
    end: End | None
    records: list[Record]
    samples: list[Sample]
    comparisons: list[Comparison] | None

    @property
    def measured(self) -> list[Record]:
        """The records that count."""
        return [record for record in self.records if not record.warmup]


def read_test(folder: Path) -> Test:
    """What a folder holds, also of a test that crashed; LoadTestError if it is no test's."""
    end, check = folder / "end.json", folder / "check.json"
    with validation_as_usage("folder"):
        run = Run.model_validate(read_json(folder / "run.json"))
        ended = End.model_validate(read_json(end)) if end.exists() else None
    compared = [Comparison(**item) for item in read_json(check)] if check.exists() else None
    return Test(run, ended, read_records(folder), read_samples(folder), compared)


def summarise(test: Test, goals: Goals) -> Summary:
    """The figures of a test, judged by `goals`."""
    measured = test.measured
    answered = [record for record in measured if record.ok]
    latencies = [record.latency for record in answered]
    latency = durations(latencies)
    errors = _errors(measured)
    correctness = None if test.comparisons is None else _correctness(test.comparisons)
    counts = _counts(test, measured)
    return Summary(
        run=test.run,
        end=test.end,
        counts=counts,
        rates=_rates(test),
        latency=latency,
        service=durations(record.done - record.sent for record in answered),
        lateness=durations(max(0.0, record.sent - record.scheduled) for record in measured),
        failed=durations(record.latency for record in measured if not record.ok),
        warm=durations(record.latency for record in answered if not record.cold),
        cold=durations(record.latency for record in answered if record.cold),
        first_preview=_firsts(test, [(record.first_preview, record.scheduled) for record in answered]),
        first_picture=_firsts(test, [(record.first_picture, record.scheduled) for record in answered]),
        tenants=_tenants(test, answered),
        latency_histogram=Histogram(latencies).encode(),
        errors=errors,
        stages=_stages(answered),
        lanes=_lanes(answered),
        correctness=correctness,
        server=_server(test.samples),
        verdict=judge(goals, test.end, counts, latency, errors, correctness),
    )


def _firsts(test: Test, instants: Iterable[tuple[float | None, float]]) -> Durations | None:
    """From when a request was due; None of a test without streams."""
    return durations(at - due for at, due in instants if at is not None) if test.run.stream else None


def _tenants(test: Test, answered: Sequence[Record]) -> dict[str, Durations]:
    names = test.run.tenants
    return {name: durations(record.latency for record in answered if record.tenant == name) for name in names}


def durations(seconds: Iterable[float]) -> Durations:
    """The usual figures of a set of durations."""
    values = list(seconds)
    histogram = Histogram(values)
    p50, p90, p95, p99, p999 = histogram.percentiles([50, 90, 95, 99, 99.9])
    return Durations(
        count=histogram.count,
        mean=statistics.fmean(values) if values else None,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        p999=p999,
        max=histogram.maximum(),
    )


def _counts(test: Test, measured: Sequence[Record]) -> Counts:
    failed = [record for record in measured if not record.ok]
    return Counts(
        warmup=len(test.records) - len(measured),
        measured=len(measured),
        ok=len(measured) - len(failed),
        in_time=sum(record.in_time for record in measured),
        failed=len(failed),
        unexplained=sum(not record.explained for record in failed),
        unsent=max(0, (test.run.planned or 0) - len(test.records)),
    )


def _rates(test: Test) -> Rates:
    """Answers count where they arrive: a server that falls behind is not credited with what it does after the end."""
    start, end = window(test)
    seconds = max(end - start, 1e-9)
    arrived = [record for record in test.records if start <= record.done < end and record.ok]
    return Rates(
        window_seconds=seconds,
        offered=sum(start <= record.scheduled < end for record in test.records) / seconds,
        throughput=len(arrived) / seconds,
        images=sum(record.images for record in arrived) / seconds,
        goodput=sum(record.in_time for record in arrived) / seconds,
    )


def window(test: Test) -> tuple[float, float]:
    """(begin, end) of the measured time, in seconds from the start; a test that was stopped ends earlier."""
    load = test.run.load
    last = max((record.done for record in test.records), default=0.0)
    stopped = test.end is None or test.end.interrupted or load.kind == "trace"
    return load.warmup, max(load.warmup, min(load.duration, last) if stopped else load.duration)


def _errors(measured: Iterable[Record]) -> list[ErrorCount]:
    kinds: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in measured:
        if not record.ok:
            kinds[record.error, record.status].append(record)
    rows = [
        ErrorCount(error=error, status=status, count=len(found), explained=found[0].explained, example=found[0].message)
        for (error, status), found in kinds.items()
    ]
    return sorted(rows, key=lambda row: -row.count)


def _stages(answered: Iterable[Record]) -> dict[str, Durations]:
    stages: dict[str, list[float]] = defaultdict(list)
    for record in answered:
        for stage, seconds in record.info.get("timings", {}).items():
            stages[stage].append(float(seconds))
    return {stage: durations(values) for stage, values in stages.items()}


def lanes_of(record: Record) -> int | None:
    """The most lanes of a step that the request took part in; None if the server does not say."""
    lanes = record.info.get("batch", {}).get("lanes")
    return None if lanes is None else int(lanes)


def _lanes(answered: Iterable[Record]) -> Lanes | None:
    told = [lanes for lanes in map(lanes_of, answered) if lanes is not None]
    return Lanes(mean=sum(told) / len(told), max=max(told)) if told else None


def _correctness(comparisons: Sequence[Comparison]) -> Correctness:
    differences = [item.difference for item in comparisons if item.difference is not None]
    return Correctness(
        compared=len(comparisons),
        identical=sum(item.identical for item in comparisons),
        equal=sum(item.equal for item in comparisons),
        max_difference=max(differences, default=None),
        min_psnr=min((item.psnr for item in comparisons if item.psnr is not None), default=None),
        problems=[f"{item.request_id}: {item.problem}" for item in comparisons if item.problem],
    )


def _server(samples: Sequence[Sample]) -> ServerMetrics:
    names = sorted({name for sample in samples for name in sample.values})
    counters = [name for name in names if name.partition("{")[0].endswith(("_total", "_success", "_failure", "_count"))]
    pairs = {name: [sample.values[name] for sample in samples if name in sample.values] for name in counters}
    increase = {name: values[-1] - values[0] for name, values in pairs.items()}
    return ServerMetrics(scrapes=len(samples), names=names, increase=increase)
