"""p95 of latency at 0.8 of capacity, over that of the same engine with request-level batching, of the same requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.serving.bench import Bench, Measurement, TakeRound
from benchmarks.serving.load import capacity, percentile, poisson, send, workload
from benchmarks.serving.results import Round
from serving.scheduling import Batching

_SIDES: tuple[Batching, ...] = ("in_flight", "request")


@contextmanager
def _opened(bench: Bench) -> Iterator[TakeRound]:
    settings = bench.settings
    servers = {side: bench.server(side) for side in _SIDES}
    rate = settings.load * capacity(bench, servers["in_flight"])
    bench.results.note("latency_requests_per_second", rate)
    load = poisson(rate, settings.latency_seconds, settings.latency_seconds / 8)
    asked = workload(bench.ids, settings.step_counts)

    def take(number: int) -> Round:
        p95, mean, lost = {}, {}, 0
        # who is first changes from round to round: what the machine does besides hits both alike
        for side in _SIDES if number % 2 == 0 else _SIDES[::-1]:
            sent = send(bench, servers[side], load, asked, settings.seed + number, check=True)
            bench.results.note(f"pictures_compared_{side}_{number}", sent.compared)
            p95[side] = percentile(sent.latencies, 95)
            lost += len(sent.measured) - len(sent.latencies)
            mean[side] = sum(sent.latencies) / len(sent.latencies)
        return {
            "p95_over_request_batching": p95["in_flight"] / p95["request"],
            "mean_over_request_batching": mean["in_flight"] / mean["request"],
            "p95_seconds": p95["in_flight"],
            "p95_seconds_request_batching": p95["request"],
            # 0, or the percentiles are of a part only
            "latency_unanswered": float(lost),
        }

    yield take


LATENCY = Measurement("latency", ("p95_over_request_batching",), _opened)
