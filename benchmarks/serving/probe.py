"""Inside a stage's process: writes down when every graph ran and every step was taken.

The model.py that `prepared` writes calls `install` before anything else. What it adds to a step is three short lines
to a file, some microseconds each; nothing in `serving` knows of it.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from threading import current_thread
from typing import Any

from serving.bank import SlotBank
from serving.engine import Engine
from serving.loop import EngineLoop
from serving.runner import Feeds, Results, Runner
from serving.use import Ending, Observer

LOOP_THREAD = "engine-loop"


class Log:
    """Lines that appear whole, from any thread."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *words: object) -> None:
        """One line."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


class TimedRunner:
    """A runner that notes each run: `graph NAME BEGIN END IN_LOOP`, seconds of the monotonic clock."""

    def __init__(self, runner: Runner, name: str, log: Log) -> None:
        self._runner = runner
        self._name = name
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def run(self, feeds: Feeds) -> Results:
        """See `Runner`."""
        begin = time.monotonic()
        results = self._runner.run(feeds)
        self._log.write("graph", self._name, begin, time.monotonic(), int(current_thread().name == LOOP_THREAD))
        return results


class StepProbe(Observer):
    """Notes each step, `step SECONDS LANES ROWS SWAPS`, and each request's end, `ended ENDING`.

    A step is told while the next one runs: when it was over, its graphs' lines tell, which come before its own.
    """

    def __init__(self, log: Log, bank: SlotBank) -> None:
        self._log = log
        self._bank = bank

    def refused(self, reason: str) -> None:
        """See `Observer`."""

    def queued(self, seconds: float) -> None:
        """See `Observer`."""

    def stepped(self, seconds: float, lanes: int, rows: int) -> None:
        """See `Observer`."""
        self._log.write("step", seconds, lanes, rows, self._bank.version)

    def ended(self, ending: Ending, seconds: float, work: int) -> None:
        """See `Observer`."""
        self._log.write("ended", ending)


def install(stage: str, folder: str) -> None:
    """Have the stage that this process is about to open write to `folder`/`stage`."""
    log = Log(Path(folder) / stage)
    names = vars(importlib.import_module(f"serving.stages.{stage}"))
    open_runner = names["open_runner"]
    names["open_runner"] = lambda config, graphset, name: TimedRunner(open_runner(config, graphset, name), name, log)
    if "EngineLoop" in names:
        names["EngineLoop"] = _probed_loop(log)


def _probed_loop(log: Log) -> type[EngineLoop]:
    class ProbedLoop(EngineLoop):
        def __init__(
            self,
            engine: Engine,
            max_queue: int,
            max_client_queue: int | None = None,
            observers: Sequence[Observer] = (),
        ) -> None:
            super().__init__(engine, max_queue, max_client_queue, [*observers, StepProbe(log, engine.bank)])

    return ProbedLoop
