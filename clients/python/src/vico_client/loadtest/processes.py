"""The sending processes as one: they begin at one instant, are asked to stop together, and none is left behind."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from vico_client.loadtest import worker
from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.job import Done, Failed, Job, Progress, Ready, Start
from vico_client.loadtest.plan import Plan
from vico_client.loadtest.route import Route

_READY_SECONDS = 120.0  # a process imports grpc and numpy; on a busy machine that takes its time
_HEAD_START = 0.2  # seconds between the word to start and the start: it reaches all before it counts


@dataclass
class Fleet:
    """Running sending processes. failures: what went wrong in any of them; cpu: shares of a core, by process."""

    processes: list[SpawnProcess]
    connections: list[Connection]
    failures: list[str] = field(default_factory=list)
    cpu: dict[int, float] = field(default_factory=dict)

    def start(self) -> float:
        """Wait until all are ready and begin; `time.monotonic()` of the start."""
        deadline = time.monotonic() + _READY_SECONDS
        for connection in self.connections:
            answer = connection.recv() if connection.poll(max(0.0, deadline - time.monotonic())) else None
            if not isinstance(answer, Ready):
                reason = answer.reason if isinstance(answer, Failed) else "does not start"
                raise LoadTestError(f"a sending process: {reason}", field="processes", hint="fewer of them")
        instant = time.monotonic() + _HEAD_START
        self._tell(Start(instant))
        return instant

    def stop(self) -> None:
        """Ask all to send nothing more; requests under way are waited for."""
        self._tell("stop")

    def messages(self, on_idle: Callable[[], None]) -> Iterator[Progress]:
        """What they tell until all have ended; `on_idle` is called about ten times a second."""
        alive = list(self.connections)
        while alive:
            for connection in wait(alive, timeout=0.1):
                assert isinstance(connection, Connection)
                message = self._received(connection)
                if isinstance(message, Progress):
                    yield message
                else:
                    alive.remove(connection)
            on_idle()

    def _received(self, connection: Connection) -> Progress | None:
        """A progress; or None when the process has ended, well or not."""
        index = self.connections.index(connection)
        message: Any
        try:
            message = connection.recv()
        except (EOFError, OSError):
            message = Failed(index, "was killed")
        if isinstance(message, Progress):
            return message
        if isinstance(message, Done):
            self.cpu[index] = message.cpu
        else:
            self.failures.append(f"sending process {index}: {message.reason}")
        return None

    def _tell(self, word: object) -> None:
        for connection in self.connections:
            with suppress(OSError):  # one that died is noticed where its messages are read
                connection.send(word)


@contextmanager
def fleet(plan: Plan, route: Route, *, run_id: str, processes: int, folder: Path) -> Iterator[Fleet]:
    """Start the sending processes; at the end of the block none is left."""
    context = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    started = Fleet([], [])
    try:
        for index in range(processes):
            ours, theirs = context.Pipe()
            job = Job(index, processes, route, run_id, folder, plan)
            process = context.Process(target=worker.main, args=(job, theirs), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process ends the pipe
            started.processes.append(process)
            started.connections.append(ours)
        yield started
    finally:
        for connection in started.connections:
            connection.close()
        for process in started.processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()
