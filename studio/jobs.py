"""One training at a time, as a child process that outlives the page: pages come and go and look at its snapshot."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import IO

from studio.child import Drawn, Event, Photos, Pictures, Refused, SeenPhoto, Step, Written, read_event
from studio.errors import Problem, StudioError
from studio.order import Order

_PATIENCE = 10.0  # seconds between asking the child to stop and making it
_LOST = Problem("training", "it stopped unexpectedly", "try again; the studio's log says more")


class Phase(StrEnum):
    """Of the one job."""

    IDLE = "idle"
    LOOKING = "looking"
    LOOKED = "looked"
    TRAINING = "training"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Snapshot:
    """How the job stands. version: greater after every change. seconds: since the first step."""

    version: int = 0
    phase: Phase = Phase.IDLE
    name: str = ""
    word: str = ""
    photos: tuple[SeenPhoto, ...] = ()
    pictures: tuple[Drawn, ...] = ()
    step: int = 0
    steps: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    problem: Problem | None = None

    @property
    def busy(self) -> bool:
        """Whether a child is at work."""
        return self.phase in (Phase.LOOKING, Phase.TRAINING)

    @property
    def seconds_left(self) -> float | None:
        """By the pace so far; None before there is one."""
        return self.seconds / self.step * (self.steps - self.step) if self.step else None


@dataclass(frozen=True)
class Task:
    """What a child is started for. finish: called when its package is there, not after a look; raises what went wrong.

    work: a folder of the job's own, removed afterwards whatever happens.
    """

    order: Order
    command: list[str]
    work: Path
    look: bool
    finish: Callable[[], None] = field(default=lambda: None)


class Jobs:
    """Starts, watches and ends the one child."""

    def __init__(self, log: IO[str] | None = None) -> None:
        """log: where the child's own words go; None = where the studio's go."""
        self._log = log
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._snapshot = Snapshot()
        self._process: subprocess.Popen[str] | None = None
        self._cancelled = False

    @property
    def snapshot(self) -> Snapshot:
        """How it stands now."""
        return self._snapshot

    def claim(self, order: Order, *, look: bool) -> None:
        """Begin; from here to the end of `run` nobody else can.

        Raises:
            StudioError: something is under way.
        """
        with self._lock:
            if self._snapshot.busy:
                what = f"{self._snapshot.name!r} is being learned"
                raise StudioError("training", what, "wait until it is done, or cancel it")
            self._cancelled = False
            phase = Phase.LOOKING if look else Phase.TRAINING
            self._set(Snapshot(self._snapshot.version, phase, order.name, order.word))

    def release(self) -> None:
        """Give a claim back that nothing was started for."""
        with self._lock:
            self._set(Snapshot(self._snapshot.version))

    def run(self, task: Task) -> None:
        """Start the child of a claim and watch it, in a thread of its own."""
        threading.Thread(target=self._work, args=(task,), name="vico-studio-job", daemon=True).start()

    def cancel(self) -> None:
        """End what is under way, if anything is."""
        with self._lock:
            if not self._snapshot.busy:
                return
            self._cancelled, process = True, self._process
        if process is not None:
            _end(process)

    def wait(self, until: Callable[[Snapshot], bool], seconds: float) -> Snapshot:
        """The first snapshot that satisfies `until`, or the last there is after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: until(self._snapshot), seconds)
            return self._snapshot

    def _work(self, task: Task) -> None:
        # unless something else is known: a job that breaks in any way must not look busy for ever
        problem: Problem | None = _LOST
        try:
            problem = self._watch(task)
        except OSError:
            problem = Problem("training", "it could not be started", "tell whoever runs the studio")
        finally:
            shutil.rmtree(task.work, ignore_errors=True)
            self._end_job(task, problem)

    def _end_job(self, task: Task, problem: Problem | None) -> None:
        with self._lock:
            self._process = None
            if self._cancelled:
                self._set(replace(self._snapshot, phase=Phase.CANCELLED, problem=None))
            elif problem is not None:
                self._set(replace(self._snapshot, phase=Phase.FAILED, problem=problem))
            else:
                self._set(replace(self._snapshot, phase=Phase.LOOKED if task.look else Phase.DONE))

    def _watch(self, task: Task) -> Problem | None:
        process = subprocess.Popen(
            task.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            # threads that spin while they wait would take the cores from the picture server
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
        )
        with self._lock:
            self._process, cancelled = process, self._cancelled
        if cancelled:
            _end(process)
        assert process.stdout is not None
        last: Event | None = None
        with process.stdout as lines:
            for line in lines:
                event = read_event(line)
                last = event or last
                self._tell(event)
        process.wait()
        if isinstance(last, Refused):
            return Problem(last.field, last.problem.replace(str(task.work), "the upload"), last.accepted)
        if not isinstance(last, Photos if task.look else Written):
            return _LOST
        if task.look or self._cancelled:
            return None
        try:
            task.finish()
        except StudioError as error:
            return Problem(error.field, error.problem, error.accepted)
        except OSError:
            return Problem("registry", "the concept could not be stored there", "tell whoever runs the studio")
        return None

    def _tell(self, event: Event | None) -> None:
        with self._lock:
            now = self._snapshot
            if isinstance(event, Photos):
                self._set(replace(now, photos=event.photos))
            elif isinstance(event, Step):
                told = {"step": event.step, "steps": event.steps, "loss": event.loss, "seconds": event.seconds}
                self._set(replace(now, **told))  # type: ignore[arg-type]
            elif isinstance(event, Pictures):
                self._set(replace(now, pictures=event.pictures))

    def _set(self, snapshot: Snapshot) -> None:
        """With the lock held."""
        self._snapshot = replace(snapshot, version=self._snapshot.version + 1)
        self._changed.notify_all()


def _end(process: subprocess.Popen[str]) -> None:
    """The child and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(_PATIENCE)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
