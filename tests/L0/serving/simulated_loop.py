"""The loop under load, on a clock that only steps move: what is measured is the schedule alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from fake_runners import SCHEDULE, WIDTH, FakeReferenceEncoder

from serving.bank import SlotBank
from serving.conductor import Asker, Conductor
from serving.deadline import Deadline
from serving.engine import Engine, EngineOptions
from serving.errors import DeadlineExceeded, Overloaded
from serving.lane import LaneSpec
from serving.references import ReferenceFeatures
from serving.runner import Feeds, Results
from serving.scheduling import Batching
from serving.scheduling.admission import Bounds
from serving.ticket import Outcome
from serving.use import LoopUse
from vico.concept import ConceptPackage
from vico.sampling import make_plan

MAX_LANES = 8
_CONTEXT = np.zeros((2, 77, WIDTH), np.float32)


@dataclass
class Machine:
    """A denoiser that moves the clock by what a step costs, more or less."""

    seconds: Callable[[int], float]
    """Of a step, by its rows."""
    noise: float = 0.0
    now: float = 0.0
    busy: float = 0.0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def run(self, feeds: Feeds) -> Results:
        """No arithmetic: the latents stay what they are."""
        taken = self.seconds(len(feeds["latent"])) * float(self.random.lognormal(0.0, self.noise))
        self.now += taken
        self.busy += taken
        return {"noise": np.zeros_like(feeds["latent"])}


@dataclass(frozen=True)
class Arrival:
    """One request."""

    at: float
    steps: int = 25
    timeout: float = float("inf")
    """Seconds from its coming."""
    client: str = ""
    priority: int = 5
    guided: bool = True
    side: int = 1


@dataclass(frozen=True)
class Run:
    """What came of the arrivals."""

    latencies: list[float]
    """Seconds, of those that were done."""
    finished: dict[int, float]
    """When each of those was done, by its place among the arrivals."""
    refused: list[int]
    ended: list[int]
    use: LoopUse
    predicted: list[tuple[float, float]]
    """What each was foreseen to take, and took."""

    @property
    def useful_share(self) -> float:
        """Of all row-steps, those that went to requests which were done in time."""
        return self.use.useful_row_steps / self.use.row_steps

    def p95(self) -> float:
        """Seconds."""
        return float(np.percentile(self.latencies, 95))


def simulate(
    arrivals: Sequence[Arrival], machine: Machine, batching: Batching = "in_flight", max_queue: int = 10**6
) -> Run:
    """Play the arrivals through the conductor, in order of their coming."""
    conductor = make_conductor(machine, batching, max_queue)
    futures: dict[int, Future[Outcome]] = {}
    finished: dict[int, float] = {}
    refused: list[int] = []
    coming = [(arrival.at, k) for k, arrival in enumerate(arrivals)]
    heapq.heapify(coming)
    while coming or conductor.busy:
        if not conductor.busy:
            machine.now = max(machine.now, coming[0][0])
        while coming and coming[0][0] <= machine.now:
            _, k = heapq.heappop(coming)
            arrival = arrivals[k]
            ticket = conductor.draft([spec_of(arrival)], Deadline(arrival.at + arrival.timeout), _asker(arrival))
            ticket.arrived = arrival.at
            try:
                conductor.accept(ticket)
            except (Overloaded, DeadlineExceeded):
                refused.append(k)
                continue
            futures[k] = ticket.future
            ticket.future.add_done_callback(lambda future, k=k: finished.__setitem__(k, machine.now))  # type: ignore[misc]
        if (step := conductor.begin_step()) is not None:
            conductor.finish_step(step, conductor.predict(step.lanes))
        conductor.deliver()
        if conductor.steps % 64 == 0:
            conductor.check_integrity()
    done = {k: finished[k] for k, future in futures.items() if future.exception() is None}
    uses = [futures[k].result().use for k in done]
    return Run(
        latencies=[at - arrivals[k].at for k, at in done.items()],
        finished=done,
        refused=refused,
        ended=[k for k in futures if k not in done],
        use=conductor.use,
        predicted=[(use.predicted_seconds, use.seconds) for use in uses if use.predicted_seconds is not None],
    )


def make_conductor(
    machine: Machine, batching: Batching = "in_flight", max_queue: int = 10**6, max_client_queue: int = 10**6
) -> Conductor:
    """A conductor on the machine's clock."""

    def clock() -> float:
        return machine.now

    def load(digest: str) -> ConceptPackage:
        raise AssertionError("no picture here has a concept")

    references = ReferenceFeatures(FakeReferenceEncoder(), 0, 0)
    options = EngineOptions(batching=batching)
    engine = Engine(machine, references, SlotBank((), 1), load, (), MAX_LANES, options, clock)
    return Conductor(engine, Bounds(MAX_LANES + max_queue, MAX_LANES + max_client_queue), clock)


def spec_of(arrival: Arrival) -> LaneSpec:
    """A picture of a few numbers."""
    plan = make_plan("ddim", arrival.steps, SCHEDULE)
    noise = np.zeros((4, arrival.side, 1), np.float32)
    return LaneSpec(plan, noise, _CONTEXT, 7.5 if arrival.guided else 1.0)


def poisson(rate: float, count: int, seed: int = 0) -> list[float]:
    """Moments of `count` arrivals, `rate` a second."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return [float(at) for at in np.cumsum(gaps)]


def capacity(seconds: Callable[[int], float], steps: float = 25, rows: int = 2) -> float:
    """Requests a second when every batch is full."""
    return MAX_LANES / (steps * seconds(MAX_LANES * rows))


def _asker(arrival: Arrival) -> Asker:
    return Asker(arrival.client, arrival.priority)
