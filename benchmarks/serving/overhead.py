"""What is not graph execution: of a picture by itself, as its client sees it, and of a step of the full batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from vico_client import Client, GenerateRequest

from benchmarks.serving.bench import Bench, Measurement, TakeRound
from benchmarks.serving.load import TIMEOUT, closed, percentile, send, workload
from benchmarks.serving.probe_log import between, covered, fullest, periods
from benchmarks.serving.results import Round
from benchmarks.serving.settings import GUIDANCE_SCALE

_PROMPT = "a photo of a * on the beach"


@contextmanager
def _alone(bench: Bench) -> Iterator[TakeRound]:
    server, steps = bench.server(), bench.settings.picture_steps
    with Client(server.address, timeout=TIMEOUT) as client:

        def ask(seed: int) -> tuple[float, float, float]:
            request = GenerateRequest(
                _PROMPT, concept=bench.ids[0], steps=steps, seed=seed, guidance_scale=GUIDANCE_SCALE
            )
            begin = time.monotonic()
            info = client.send(request).info
            return begin, time.monotonic(), sum(info.timings.values())

        ask(0)

        def take(number: int) -> Round:
            calls = [ask(seed) for seed in range(bench.settings.alone)]
            runs = server.log.graphs()
            figures = [(end - begin, covered(runs, begin, end), stages) for begin, end, stages in calls]
            return {
                "overhead_share": median(1 - graph / seconds for seconds, graph, _ in figures),
                "picture_ms": 1e3 * median(seconds for seconds, _, _ in figures),
                "outside_graphs_ms": 1e3 * median(seconds - graph for seconds, graph, _ in figures),
                "between_stages_ms": 1e3 * median(seconds - stages for seconds, _, stages in figures),
            }

        yield take


@contextmanager
def _loop(bench: Bench) -> Iterator[TakeRound]:
    server, settings = bench.server(), bench.settings
    # of two lengths, so that there is always somebody under way
    counts = [settings.picture_steps, settings.picture_steps + 3]
    asked = workload(bench.ids[:1], counts, prompts=[_PROMPT])

    def take(number: int) -> Round:
        sent = send(bench, server, closed(bench, settings.lanes, settings.closed_seconds), asked, number)
        steps = between(server.log.steps(), sent.begin + settings.warmup_seconds, sent.end)
        full = fullest(periods(steps))
        beyond = [1e3 * period.beyond_graph for period in full]
        return {
            "loop_ms_per_step": median(beyond),
            "loop_ms_per_step_p95": percentile(beyond, 95),
            "step_ms_full": 1e3 * median(period.seconds for period in full),
        }

    yield take


OVERHEAD = Measurement("overhead", ("overhead_share",), _alone)
LOOP = Measurement("loop", ("loop_ms_per_step",), _loop)
