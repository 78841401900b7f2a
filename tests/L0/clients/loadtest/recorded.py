"""Records and tests as a run would have left them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vico_client.loadtest.figures import Test
from vico_client.loadtest.records import Record
from vico_client.loadtest.summary import End, Run

INFO = {"timings": {"unet_loop": 0.5, "vae_decoder": 0.1}, "batch": {"first_step": 1, "last_step": 9, "lanes": 3}}


def record(number: int = 0, scheduled: float = 0.0, latency: float = 1.0, **changes: Any) -> Record:
    """An answered request, unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "number": number,
        "request_id": f"lt-{number}",
        "user": None,
        "scheduled": scheduled,
        "sent": scheduled,
        "done": scheduled + latency,
        "request": {"prompt": "a dog", "seed": number},
        "images": 1,
        "size": 10,
        "info": INFO,
    }
    return Record(**{**values, **changes})


def failure(number: int, error: str, status: str, **changes: Any) -> Record:
    """A request that failed."""
    return record(number, error=error, status=status, message=f"{error}!", images=0, info={}, **changes)


def run(**changes: Any) -> Run:
    """What run.json says."""
    values: dict[str, Any] = {
        "run_id": "lt-0",
        "started": "2026-01-01T00:00:00+00:00",
        "address": "localhost:8001",
        "metrics": None,
        "load": {"kind": "open", "rate": 1.0, "duration": 10.0},
        "seed": 0,
        "planned": None,
        "processes": 2,
        "timeout": 60.0,
        "check_share": 0.0,
        "host": {"cores": 2},
    }
    return Run.model_validate({**values, **changes})


def end(**changes: Any) -> End:
    """What end.json says."""
    values: dict[str, Any] = {"seconds": 10.0, "interrupted": False, "failures": [], "cpu": [0.1, 0.1]}
    return End.model_validate({**values, **changes})


def a_test(records: Iterable[Record], **changes: Any) -> Test:
    """A test of 10 s that ended well."""
    values: dict[str, Any] = {"run": run(), "end": end(), "samples": [], "comparisons": None}
    return Test(records=list(records), **{**values, **changes})


def write_folder(folder: Path, test: Test) -> Path:
    """The folder of a test, as a run leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(test.run.model_dump_json(by_alias=True))
    if test.end is not None:
        (folder / "end.json").write_text(test.end.model_dump_json())
    (folder / "records-0.jsonl").write_text("".join(item.line() for item in test.records[::2]))
    (folder / "records-1.jsonl").write_text("".join(item.line() for item in test.records[1::2]))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(vars(sample)) + "\n" for sample in test.samples))
    return folder
