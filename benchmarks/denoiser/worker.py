"""A contender in a process of its own: it loads once, runs what it is told, and says what that took."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Protocol

from benchmarks.denoiser.results import BenchmarkError, Sample
from benchmarks.denoiser.settings import Settings

Action = Callable[[], object]


class Contender(Protocol):
    """What a worker holds."""

    def prepare(self, work: str) -> Action:
        """Inputs of a work, made outside the clock; what is returned is timed."""


Factory = Callable[[Settings], Contender]

_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "OPENVINO_TELEMETRY": "0"}


class Worker:
    """The near end of a worker process.

    Raises (from every method): BenchmarkError when the contender fails or its process dies.
    """

    def __init__(self, name: str, factory: Factory, settings: Settings) -> None:
        self._name = name
        # spinning threads would take the cores from whoever has its turn
        os.environ.update(_PASSIVE | {"OMP_NUM_THREADS": str(settings.threads)})
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, factory, settings), daemon=True)
        self._process.start()
        far.close()
        try:
            self._receive()
        except BenchmarkError:
            self.close()
            raise

    def run(self, work: str) -> Sample:
        """Run one work once, against the clocks."""
        self._pipe.send(work)
        wall, cpu, _ = self._receive()
        return Sample(wall, cpu)

    def close(self) -> int:
        """End the process; returns its peak resident memory in bytes, 0 if it is not known."""
        peak = 0
        try:
            self._pipe.send(None)
            peak = int(self._receive()[2])
        except (BenchmarkError, OSError):
            self._process.terminate()
        self._process.join()
        return peak

    def _receive(self) -> tuple[float, float, float]:
        try:
            message = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            problem = f"its process ended with code {self._process.exitcode}"
            raise BenchmarkError(self._name, problem, "enough memory") from None
        if isinstance(message, str):
            raise BenchmarkError(self._name, message, "a contender that runs here")
        wall, cpu, peak = message
        return float(wall), float(cpu), float(peak)


def peak_rss() -> int:
    """Greatest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu_seconds() -> float:
    """CPU time of all threads of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(action: Action) -> Sample:
    """Run once between the clocks."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    action()
    return Sample(time.perf_counter() - wall, cpu_seconds() - cpu)


def _serve(pipe: Connection, factory: Factory, settings: Settings) -> None:
    try:
        contender = factory(settings)
        pipe.send((0.0, 0.0, peak_rss()))
        while (work := pipe.recv()) is not None:
            sample = timed(contender.prepare(work))
            pipe.send((sample.wall, sample.cpu, peak_rss()))
        pipe.send((0.0, 0.0, peak_rss()))
    except Exception as error:  # noqa: BLE001 - the far end reports whatever a runtime raises
        traceback.print_exc()
        pipe.send(f"{type(error).__name__}: {error}".splitlines()[0][:300])
