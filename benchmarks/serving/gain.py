"""What in-flight batching is worth by queueing alone, by the gain of a full batch: `python -m benchmarks.serving.gain`.

A step of k lanes costs a + b·k; nothing else takes time. Requests of 8, 12, 25 and 50 steps come at random (Poisson),
at 0.8 of what a full batch can do. In flight: first come, first served, lanes join and leave at every step. By request:
the oldest request and up to seven others of as many steps form a batch that runs to its end. The ratio of their 95th
percentiles of latency is what `p95_over_request_batching` comes to where serving itself costs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.serving.settings import FULL

_GAINS = (1.3, 1.6, 2.3, 3.5, 5.0)
"""Pictures a second with all lanes over those with one."""
_SEEDS = 12
Cost = Callable[[int], float]
"""Lanes → seconds of a step."""


@dataclass
class Request:
    """Seconds, steps."""

    arrived: float
    steps: int
    left: int


def cost_of(gain: float, lanes: int) -> Cost:
    """A line through 1 at one lane, at which `lanes` lanes give `gain` times the pictures."""
    slope = (lanes / gain - 1) / (lanes - 1)
    return lambda count: 1 - slope + slope * count


def arrivals(rate: float, seconds: float, seed: int) -> list[Request]:
    """Poisson, each of a number of steps drawn at random."""
    dice, now, found = random.Random(seed), 0.0, []
    while (now := now + dice.expovariate(rate)) < seconds:
        steps = dice.choice(FULL.step_counts)
        found.append(Request(now, steps, steps))
    return found


def in_flight(requests: Sequence[Request], cost: Cost, lanes: int) -> list[float]:
    """Latencies in seconds."""
    coming, running, now, latencies = list(requests), list[Request](), 0.0, list[float]()
    while coming or running:
        while coming and len(running) < lanes and coming[0].arrived <= now:
            running.append(coming.pop(0))
        if not running:
            now = coming[0].arrived
            continue
        now += cost(len(running))
        for request in running:
            request.left -= 1
        latencies += [now - request.arrived for request in running if not request.left]
        running = [request for request in running if request.left]
    return latencies


def by_request(requests: Sequence[Request], cost: Cost, lanes: int) -> list[float]:
    """Latencies in seconds."""
    coming, now, latencies = list(requests), 0.0, list[float]()
    while coming:
        now = max(now, coming[0].arrived)
        fitting = [one for one in coming if one.arrived <= now and one.steps == coming[0].steps]
        batch = fitting[:lanes]
        now += coming[0].steps * cost(len(batch))
        latencies += [now - request.arrived for request in batch]
        coming = [request for request in coming if request not in batch]
    return latencies


def p95_ratio(gain: float, seed: int) -> float:
    """In flight over by request, for the same arrivals: as many as the benchmark's on the project's own machine."""
    cost, lanes = cost_of(gain, FULL.lanes), FULL.lanes
    mean_steps = sum(FULL.step_counts) / len(FULL.step_counts)
    rate = FULL.load * lanes / (mean_steps * cost(lanes))
    load = [arrivals(rate, 3500.0, seed) for _ in range(2)]
    ours, theirs = in_flight(load[0], cost, lanes), by_request(load[1], cost, lanes)
    return float(np.percentile(ours, 95) / np.percentile(theirs, 95))


def main() -> None:
    """Print a line for each gain."""
    print("batch gain   p95 in flight / by request, median of", _SEEDS)
    for gain in _GAINS:
        print(f"{gain:10.1f}   {median(p95_ratio(gain, seed) for seed in range(_SEEDS)):.2f}")


if __name__ == "__main__":
    main()
