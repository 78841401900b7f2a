"""1.5 times what the server can do, with deadlines: whose is the time of the steps, and how quick is a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vico_client.loadtest.records import Record

from benchmarks.serving.bench import Bench, Measurement, TakeRound
from benchmarks.serving.load import capacity, closed, percentile, poisson, send, workload
from benchmarks.serving.probe_log import Step, between
from benchmarks.serving.results import Round
from benchmarks.serving.settings import ROWS


@contextmanager
def _opened(bench: Bench) -> Iterator[TakeRound]:
    settings, server = bench.settings, bench.server()
    alone = send(
        bench,
        server,
        closed(bench, 1, settings.capacity_seconds / 3),
        workload(bench.ids[:1], [settings.picture_steps]),
        settings.seed,
    )
    seconds = percentile([record.latency for record in alone.records if record.ok], 50)
    rate = settings.overload * capacity(bench, server)
    bench.results.note("overload", {"requests_per_second": rate, "alone_seconds": seconds})
    load = poisson(rate, settings.overload_seconds)
    asked = workload(bench.ids, settings.step_counts, [seconds * times for times in settings.deadlines])

    def take(number: int) -> Round:
        sent = send(bench, server, load, asked, settings.seed + number)
        refusals = [record.done - record.sent for record in sent.records if record.error == "Overloaded"]
        steps = between(server.log.steps(), sent.begin, sent.end)
        answered = sum(record.ok for record in sent.records)
        figures = {
            "goodput_overload": useful_share(steps, sent.records),
            "answered_share": answered / len(sent.records),
            "refused_share": len(refusals) / len(sent.records),
        }
        if refusals:
            figures["refusal_p99_ms"] = 1e3 * percentile(refusals, 99)
            figures["refusal_p50_ms"] = 1e3 * percentile(refusals, 50)
        return figures

    yield take


def useful_share(steps: Sequence[Step], records: Sequence[Record]) -> float:
    """Of the seconds of all steps, those spent on requests that were answered before their deadline.

    A step's time is shared out by rows. The client's deadline is its gRPC call's: whoever got an answer met it.
    """
    useful = dict.fromkeys((step.number for step in steps), 0)
    for record in records:
        if record.ok:
            batch = record.info["batch"]
            for number in range(batch["first_step"], batch["last_step"] + 1):
                if number in useful:
                    useful[number] += ROWS
    total = sum(step.seconds for step in steps)
    # a step of another size, the canary's, counts at most as itself
    spent = sum(step.seconds * min(1.0, useful[step.number] / step.rows) for step in steps)
    return spent / total if total else 0.0


OVERLOAD = Measurement("overload", ("goodput_overload", "refusal_p99_ms"), _opened)
