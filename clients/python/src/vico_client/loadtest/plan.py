"""Who asks for what and when, drawn ahead as plain data: a plan is a file that can be read, kept and replayed.

Of a closed loop only the requests can be known ahead: when they are sent depends on the answers. Its plan is the seed
and the number of users; the k-th request of user u is always the same.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vico_client.loadtest.arrivals import Instants, bursty, constant, poisson
from vico_client.loadtest.distributions import draw
from vico_client.loadtest.errors import LoadTestError, read_text, validation_as_usage
from vico_client.loadtest.load import AnyLoad, ClosedLoad, OpenLoad, TraceLoad, load_from
from vico_client.loadtest.storage import write_text
from vico_client.loadtest.trace import TraceRow
from vico_client.loadtest.workload import Draw, Drawer, Workload

SCHEMA = "vico.loadtest.plan"
VERSION = 1


@dataclass(frozen=True)
class PlannedRequest:
    """One request of a plan.

    number: unique in the plan. at: seconds from the start; in a closed loop, seconds that the user thinks before it.
    fields: of a GenerateRequest. deadline: seconds from when it is due. warmup: no figure counts it.
    checked: its pictures are kept, to be compared with the same request's alone. cold: of a cold concept.
    """

    number: int
    at: float
    fields: dict[str, Any]
    deadline: float | None = None
    warmup: bool = False
    checked: bool = False
    cold: bool = False


@dataclass(frozen=True)
class Plan:
    """check_share: of the requests, those whose pictures are compared. requests: by time; none in a closed loop."""

    load: AnyLoad
    workload: Workload
    seed: int
    check_share: float
    requests: tuple[PlannedRequest, ...]


def make_plan(load: OpenLoad | ClosedLoad, workload: Workload, seed: int, check_share: float = 0.0) -> Plan:
    """Draw a plan: the same arguments give the same plan."""
    if isinstance(load, ClosedLoad):
        return Plan(load, workload, seed, check_share, ())
    instants = _instants(load, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,))))
    stream = _stream(Drawer(workload, seed), _checks(seed, check_share))
    requests = (
        _planned(number, float(at), *next(stream), warmup=bool(at < load.warmup)) for number, at in enumerate(instants)
    )
    return Plan(load, workload, seed, check_share, tuple(requests))


def make_trace_plan(
    load: TraceLoad, rows: list[TraceRow], workload: Workload, seed: int, check_share: float = 0.0
) -> Plan:
    """The plan of a recorded trace; what the trace does not say is drawn from the workload."""
    stream = _stream(Drawer(workload, seed), _checks(seed, check_share))
    requests = []
    for number, row in enumerate(rows):
        drawn, checked = next(stream)
        fields = {**drawn.fields, **row.fields}
        if "concept" in row.fields and "prompt" not in row.fields and "concept" not in drawn.fields:
            fields["prompt"] = workload.prompts[number % len(workload.prompts)]  # the one drawn has no place for it
        cold = drawn.cold and "concept" not in row.fields
        replaced = Draw(fields, row.deadline or drawn.deadline, cold)
        requests.append(_planned(number, row.at, replaced, checked, warmup=row.at < load.warmup))
    return Plan(load, workload, seed, check_share, tuple(requests))


def user_requests(plan: Plan, user: int) -> Iterator[PlannedRequest]:
    """The endless requests of one user of a closed loop, numbered uniquely among all users."""
    load = plan.load
    assert isinstance(load, ClosedLoad)
    think = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(2, user)))
    if load.cycle is None:
        stream = _stream(Drawer(plan.workload, plan.seed, user, load.users), _checks(plan.seed, plan.check_share, user))
    else:
        whole = _stream(Drawer(plan.workload, plan.seed), _checks(plan.seed, plan.check_share))
        stream = itertools.islice(itertools.cycle(list(itertools.islice(whole, load.cycle))), user, None, load.users)
    for turn, (drawn, checked) in enumerate(stream):
        seconds = float(draw(load.think, think))  # type: ignore[arg-type]
        yield _planned(turn * load.users + user, seconds, drawn, checked, warmup=False)


def write_plan(plan: Plan, path: Path) -> None:
    """One JSON line for the plan, then one for each request; written atomically."""
    head = {
        "schema": SCHEMA,
        "version": VERSION,
        "load": plan.load.model_dump(),
        "workload": plan.workload.model_dump(),
        "seed": plan.seed,
        "check_share": plan.check_share,
    }
    write_text(path, "".join(json.dumps(line) + "\n" for line in [head, *map(vars, plan.requests)]))


def read_plan(path: Path) -> Plan:
    """A plan as `write_plan` wrote it; LoadTestError names what is wrong."""
    lines = read_text(path, "plan").splitlines()
    try:
        head, *requests = map(json.loads, lines)
        if (head["schema"], head["version"]) != (SCHEMA, VERSION):
            raise LoadTestError(
                f"schema {head['schema']!r} version {head['version']!r}", field="plan", hint="version 1"
            )
        with validation_as_usage("plan.workload"):
            workload = Workload.model_validate_json(json.dumps(head["workload"]))
        planned = tuple(PlannedRequest(**request) for request in requests)
        return Plan(load_from(head["load"]), workload, int(head["seed"]), float(head["check_share"]), planned)
    except (ValueError, KeyError, TypeError) as error:
        raise LoadTestError(f"malformed: {error}", field="plan", hint="a file of `vico loadtest plan`") from None


def _instants(load: OpenLoad, random: np.random.Generator) -> Instants:
    if load.arrivals == "constant":
        return constant(load.rate, load.duration)
    if load.arrivals == "bursty":
        return bursty(load.rate, load.duration, random, load.bursts)
    return poisson(load.rate, load.duration, random, exact=load.exact)


def _checks(seed: int, share: float, stream: int = 0) -> Iterator[bool]:
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, stream)))
    while True:
        yield bool(random.random() < share)


def _stream(drawer: Drawer, checks: Iterator[bool]) -> Iterator[tuple[Draw, bool]]:
    while True:
        yield drawer.next(), next(checks)


def _planned(number: int, at: float, drawn: Draw, checked: bool, *, warmup: bool) -> PlannedRequest:
    return PlannedRequest(number, at, drawn.fields, drawn.deadline, warmup, checked, drawn.cold)
