"""Where the processes of one server keep their numbers, one file for each kind and process, mapped into memory.

Counting is a write to memory, with nobody to wait for. What a process has counted outlives it: a stage that is started
anew does not set the counters back.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving.processes import state_of
from serving.telemetry.quiet import quiet

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of `prometheus_client`."""


def environment(folder: Path) -> dict[str, str]:
    """What the environment of a process that counts into `folder` must have when it begins."""
    folder.mkdir(exist_ok=True)
    return {FOLDER: str(folder)}


@quiet
def reserve() -> None:
    """Have the disk keep room for this process's numbers: writing to mapped memory that a full disk cannot hold would
    end the process with SIGBUS. Call it when all instruments are made."""
    if FOLDER not in os.environ:
        return
    for file in Path(os.environ[FOLDER]).glob(f"*_{os.getpid()}.db"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def forget_the_dead(folder: Path) -> None:
    """Drop the gauges of processes that ended: what they last said is no longer so. Their counters stay."""
    for file in folder.glob("gauge_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if state_of(pid) == "Z":
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def registry_of(folder: Path) -> CollectorRegistry:
    """All numbers in the folder."""
    registry = CollectorRegistry()
    # types: prometheus_client has none for this class
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry
