"""Where the processes of one server keep their numbers, one file for each kind and process, mapped into memory.

Counting is a write to memory, with nobody to wait for. What a process has counted outlives it: a stage that is started
anew does not set the counters back.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from serving.processes import state_of
from serving.telemetry.quiet import quiet

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of `prometheus_client`."""
_DEAD = "0"
"""In the place of a process id: no process has it."""


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


def bury_the_dead(folder: Path) -> None:
    """Of processes that ended, drop the gauges, which are no longer so, and add all else to one file for each kind:
    however often a stage is started anew, there is no more to keep or to read. Not from two threads at once."""
    for file in folder.glob("*_*.db"):
        kind, _, pid = file.stem.rpartition("_")
        if pid == _DEAD or state_of(int(pid)) != "Z":
            continue
        if not kind.startswith("gauge"):
            _add(file, folder / f"{kind}_{_DEAD}.db")
        file.unlink()


def _add(file: Path, to: Path) -> None:
    total = MmapedDict(str(to))  # type: ignore[no-untyped-call]
    for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
        total.write_value(key, total.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    total.close()  # type: ignore[no-untyped-call]


def registry_of(folder: Path) -> CollectorRegistry:
    """All numbers in the folder."""
    registry = CollectorRegistry()
    # types: prometheus_client has none for this class
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry
