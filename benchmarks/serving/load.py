"""Load on a server by the SDK's own load generator (docs/loadtest.md)."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from vico_client.loadtest.distributions import Choice
from vico_client.loadtest.load import ClosedLoad, OpenLoad
from vico_client.loadtest.plan import make_plan
from vico_client.loadtest.records import Record, read_records
from vico_client.loadtest.run import Settings as SendSettings
from vico_client.loadtest.run import run_test
from vico_client.loadtest.workload import Concepts, Workload

from benchmarks.serving.bench import Bench
from benchmarks.serving.results import BenchmarkError
from benchmarks.serving.running import Running
from benchmarks.serving.settings import GUIDANCE_SCALE, SCENES

TIMEOUT = 900.0
"""Seconds, for requests without a deadline: none may be lost to it."""
_FEW = 6


@dataclass(frozen=True)
class Sent:
    """What became of one load; instants of the monotonic clock."""

    records: list[Record]
    """All, those of the warm-up too."""
    begin: float
    end: float
    load: OpenLoad | ClosedLoad
    compared: int
    """Answers that were asked for again, alone."""
    equal: int

    @property
    def measured(self) -> list[Record]:
        """Those behind the warm-up."""
        return [record for record in self.records if not record.warmup]

    @property
    def latencies(self) -> list[float]:
        """Seconds from due to answered, of those measured."""
        return [record.latency for record in self.measured if record.ok]

    @property
    def per_second(self) -> float:
        """Requests answered within the measured window, a second; of one across its edge, the part of its time within.

        Users who asked together are answered together: a mere count would jump by all of them.
        """
        begin, end = self.load.warmup, self.load.duration
        answered = [(record.sent, record.done) for record in self.records if record.ok]
        within = sum(max(0.0, min(done, end) - max(sent, begin)) / (done - sent) for sent, done in answered)
        return within / (end - begin)


def workload(
    concepts: Sequence[str],
    steps: Sequence[int],
    deadlines: Sequence[float] = (),
    *,
    popularity: str = "zipf",
    prompts: Sequence[str] = (),
    negative_prompts: Sequence[str] = (),
) -> Workload:
    """Requests for one picture each. Without `prompts` twenty of them, so that reference features are met again now
    and then, as in real traffic; without `negative_prompts` the empty one."""
    negative = {"negative_prompt": Choice(choice=list(negative_prompts))} if negative_prompts else {}
    return Workload.model_validate(
        {
            "prompts": list(prompts) or [f"a photo of a * {scene}" for scene in SCENES],
            "plain_prompts": ["a photo of a toy"],
            "deadline": Choice(choice=list(deadlines)) if deadlines else None,
            "concepts": Concepts(ids=list(concepts), popularity="zipf" if popularity == "zipf" else "uniform"),
            "fields": {"steps": Choice(choice=list(steps)), "guidance_scale": GUIDANCE_SCALE, **negative},
        }
    )


def send(
    bench: Bench, server: Running, load: OpenLoad | ClosedLoad, asked: Workload, seed: int, *, check: bool = False
) -> Sent:
    """Send a load and wait for the last answer.

    Raises:
        BenchmarkError: an error that load does not explain, or another picture than the request gets alone.
        KeyboardInterrupt: the user stopped it.
    """
    plan = make_plan(load, asked, seed, check_share=0.2 if check else 0.0)
    settings = SendSettings(
        server.address, timeout=TIMEOUT, check_limit=bench.settings.compared, preheat=False, quiet=True
    )
    with tempfile.TemporaryDirectory(prefix="vico-load-") as parent:
        folder = Path(parent) / "load"
        begin = time.monotonic()
        if run_test(plan, settings, folder):
            raise KeyboardInterrupt
        end, records = time.monotonic(), read_records(folder)
        checks = json.loads((folder / "check.json").read_text()) if (folder / "check.json").exists() else []
    server.require_alive()
    strange = [record for record in records if not record.explained]
    if strange:
        raise BenchmarkError("load", f"{len(strange)} unexplained errors, as {strange[0].message!r}", "none")
    equal = sum(one["identical"] or (one["psnr"] or 0.0) >= 40.0 for one in checks)
    if equal < len(checks):
        raise BenchmarkError("load", f"{len(checks) - equal} pictures are others than those made alone", "none")
    return Sent(records, begin, end, load, len(checks), equal)


def closed(bench: Bench, users: int, seconds: float) -> ClosedLoad:
    """Users who ask again as soon as they are answered."""
    warmup = bench.settings.warmup_seconds
    return ClosedLoad(users=users, duration=seconds + warmup, warmup=warmup)


def poisson(rate: float, seconds: float, warmup: float = 0.0) -> OpenLoad:
    """Arrivals at random instants, as many as expected, and at least a few."""
    return OpenLoad(rate=max(rate, _FEW / seconds), duration=seconds, warmup=warmup, exact=True)


def capacity(bench: Bench, server: Running) -> float:
    """Requests a second of mixed traffic when the batch is always full."""
    settings = bench.settings
    sent = send(
        bench,
        server,
        closed(bench, 2 * settings.lanes, settings.capacity_seconds),
        workload(bench.ids, settings.step_counts),
        settings.seed,
    )
    return sent.per_second


def percentile(values: Sequence[float], share: float) -> float:
    """Of seconds, say; raises BenchmarkError where there are none."""
    if not len(values):
        raise BenchmarkError("load", "nothing to take a percentile of", "a longer load")
    return float(np.percentile(values, share))
