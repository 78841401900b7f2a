"""One test from plan to folder: send, watch, scrape, compare. Reports are made from the folder afterwards."""

from __future__ import annotations

import datetime
import os
import platform
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vico_client.client import Client
from vico_client.errors import ConceptNotFound, ConceptRejected, InvalidRequest, Unavailable
from vico_client.loadtest.check import Comparison, compare_alone, sample
from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.live import watching
from vico_client.loadtest.load import ClosedLoad
from vico_client.loadtest.plan import Plan, write_plan
from vico_client.loadtest.processes import Fleet, fleet
from vico_client.loadtest.records import read_records
from vico_client.loadtest.route import Route, Tenant, make_route
from vico_client.loadtest.scrape import metrics_url, scraping
from vico_client.loadtest.storage import new_folder, write_json
from vico_client.loadtest.summary import End, Run
from vico_client.messages import GenerateRequest
from vico_client.settings import TLS


@dataclass(frozen=True)
class Settings:
    """Where and how to send.

    metrics: host:port or URL of the server's Prometheus metrics. timeout: seconds, for requests without a deadline;
    scrape_interval: seconds. check_limit: requests compared at most. preheat: ask for each warm concept first.
    tls: None = as the environment says. tenants: take turns; none = the key of VICO_API_KEY, if there is one.
    stream: ask for progress and previews.
    """

    address: str
    metrics: str | None = None
    processes: int = 2
    timeout: float = 120.0
    scrape_interval: float = 1.0
    check_limit: int = 20
    preheat: bool = True
    quiet: bool = False
    tls: TLS | None = None
    tenants: tuple[Tenant, ...] = ()
    stream: bool = False

    def route(self) -> Route:
        """InvalidRequest or LoadTestError names what is wrong."""
        return make_route(self.address, self.timeout, self.tls, self.tenants, stream=self.stream)


def run_test(plan: Plan, settings: Settings, folder: Path) -> bool:
    """Run a plan; everything it leaves is in `folder`, which must be new or empty. True if the user stopped it.

    LoadTestError if it cannot begin: nobody answers, or a concept of the plan is not there. Ctrl-C ends it early, in
    good order; a second Ctrl-C at once.
    """
    url = None if settings.metrics is None else metrics_url(settings.metrics)
    route = settings.route()
    with Client(settings.address, timeout=settings.timeout, tls=settings.tls, api_key="") as nobody:
        tenants = _clients(nobody, route)
        client = next(iter(tenants.values()))
        _check_server(client)
        new_folder(folder)
        (folder / "pictures").mkdir()
        write_plan(plan, folder / "plan.jsonl")
        run = _run(plan, settings, url)
        write_json(folder / "run.json", run.model_dump(mode="json", by_alias=True))
        if settings.preheat:
            _preheat(client, plan)
        interrupted = _send(plan, settings, route, url, folder, run.run_id)
        if not interrupted and plan.check_share:
            _compare(tenants, settings, folder)
    return interrupted


def _clients(client: Client, route: Route) -> dict[str, Client]:
    """The client with each tenant's key, by tenant."""
    pairs = zip(route.names, route.settings)
    return {name: client.acting_for(settings.api_key) for name, settings in pairs}


def _send(plan: Plan, settings: Settings, route: Route, url: str | None, folder: Path, run_id: str) -> bool:
    """Send everything; True if the user stopped it."""
    with fleet(plan, route, run_id=run_id, folder=folder, processes=_processes(plan, settings)) as senders:
        with watching(plan.load.duration, quiet=settings.quiet) as watch, _stop_on_signals(senders) as stopped:
            start = senders.start()
            watch.start(start)
            with scraping(url, folder / "metrics.jsonl", start, settings.scrape_interval):
                for progress in senders.messages(watch.tick):
                    watch.add(progress)
            watch.tick()
        seconds = time.monotonic() - start
    cpu = [senders.cpu.get(index, 0.0) for index in range(len(senders.processes))]
    end = End(seconds=seconds, interrupted=bool(stopped), failures=senders.failures, cpu=cpu)
    write_json(folder / "end.json", end.model_dump(mode="json"))
    return bool(stopped)


def _processes(plan: Plan, settings: Settings) -> int:
    """No more than there are users."""
    load = plan.load
    return min(settings.processes, load.users) if isinstance(load, ClosedLoad) else settings.processes


def _check_server(client: Client) -> None:
    if not client.ready():
        raise Unavailable(f"no ViCo server is ready at {client.address}", hint="start one: vico serve")


def _run(plan: Plan, settings: Settings, url: str | None) -> Run:
    host = {"cores": os.cpu_count(), "python": platform.python_version(), "vico_client": version("vico-client")}
    return Run(
        run_id=f"lt-{uuid.uuid4().hex[:8]}",
        started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        address=settings.address,
        metrics=url,
        load=plan.load,
        seed=plan.seed,
        planned=None if isinstance(plan.load, ClosedLoad) else len(plan.requests),
        processes=_processes(plan, settings),
        timeout=settings.timeout,
        check_share=plan.check_share,
        stream=settings.stream,
        tenants=[tenant.name for tenant in settings.tenants],
        host=host,
    )


def _preheat(client: Client, plan: Plan) -> None:
    """One short request for each warm concept: what is wrong with a concept is said now, not by a thousand errors."""
    warm: list[str | None] = list(plan.workload.warm_ids())
    for concept in warm or [None]:
        prompt = plan.workload.prompts[0] if concept else plan.workload.plain_prompts[0]
        try:
            client.send(GenerateRequest(prompt, concept=concept, steps=1))
        except (ConceptNotFound, ConceptRejected, InvalidRequest) as error:
            named = f"concept {concept!r}" if concept else "a request without a concept"
            raise LoadTestError(f"{named}: {error}", field="workload", hint="concepts of this server") from None


def _compare(tenants: dict[str, Client], settings: Settings, folder: Path) -> None:
    comparisons: list[dict[str, Any]] = []
    for record in sample(read_records(folder), settings.check_limit):
        comparison: Comparison = compare_alone(tenants[record.tenant], record, folder / "pictures")
        comparisons.append(asdict(comparison))
        write_json(folder / "check.json", comparisons)  # after each: what is known is never lost
    write_json(folder / "check.json", comparisons)


@contextmanager
def _stop_on_signals(senders: Fleet) -> Iterator[list[int]]:
    """SIGINT and SIGTERM stop the sending in good order, once; the list then holds the signal."""
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        senders.stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
