"""One of the processes that send the requests: an event loop, one connection, one file of records."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import IO, Any

from vico_client.loadtest.call import Sender
from vico_client.loadtest.job import Done, Failed, Job, Ready, Start
from vico_client.loadtest.load import ClosedLoad
from vico_client.loadtest.plan import PlannedRequest, user_requests
from vico_client.loadtest.storage import open_lines
from vico_client.loadtest.tally import Tally

PROGRESS_SECONDS = 0.5


def main(job: Job, parent: Connection) -> None:
    """Send this process's share of the plan; runs in a process of its own, and ends when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which asks us to stop in good order
    try:
        asyncio.run(_Worker(job, parent).run())
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:  # noqa: BLE001 - the parent tells the user, whatever it was
        parent.send(Failed(job.index, f"{type(error).__name__}: {error}"))


class _Worker:
    def __init__(self, job: Job, parent: Connection) -> None:
        self._job = job
        self._parent = parent
        self._start = 0.0  # of the test, on the clock that all processes of a machine share
        self._stopping = asyncio.Event()
        self._tally = Tally()

    async def run(self) -> None:
        job = self._job
        sender = Sender(job.route, job.run_id, job.folder / "pictures", self._now)
        with open_lines(job.folder / f"records-{job.index}.jsonl") as records:
            self._parent.send(Ready(job.index))
            start: Start = await asyncio.to_thread(self._parent.recv)
            self._start = start.instant
            cpu = time.process_time()
            reporting = asyncio.create_task(self._report())
            try:
                await self._load(sender, records)
            finally:
                reporting.cancel()
                await sender.close()
        self._parent.send(self._tally.progress())
        self._parent.send(Done(job.index, (time.process_time() - cpu) / max(self._now(), 1e-9)))

    def _now(self) -> float:
        return time.monotonic() - self._start

    async def _load(self, sender: Sender, records: IO[str]) -> None:
        load = self._job.plan.load
        if isinstance(load, ClosedLoad):
            mine = range(self._job.index, load.users, self._job.processes)
            await asyncio.gather(*(self._user(user, load, sender, records) for user in mine))
        else:
            await self._by_the_clock(sender, records)

    async def _by_the_clock(self, sender: Sender, records: IO[str]) -> None:
        """Open loop: a request is sent when it is due, whatever became of those before it."""
        under_way: set[asyncio.Task[None]] = set()
        broken: list[BaseException] = []

        def ended(task: asyncio.Task[None]) -> None:
            under_way.discard(task)
            if task.exception() is not None:
                broken.append(task.exception())  # type: ignore[arg-type]

        for planned in self._job.plan.requests[self._job.index :: self._job.processes]:
            if broken or not await self._wait_until(planned.at):
                break
            task = asyncio.create_task(self._send(sender, records, planned, planned.at))
            under_way.add(task)
            task.add_done_callback(ended)
        if under_way:
            await asyncio.wait(under_way)
        if broken:
            raise broken[0]

    async def _user(self, user: int, load: ClosedLoad, sender: Sender, records: IO[str]) -> None:
        due = 0.0
        for planned in user_requests(self._job.plan, user):
            due += planned.at
            if due >= load.duration or not await self._wait_until(due):
                return
            await self._send(sender, records, replace(planned, warmup=due < load.warmup), due, user)
            due = self._now()

    async def _send(
        self, sender: Sender, records: IO[str], planned: PlannedRequest, due: float, user: int | None = None
    ) -> None:
        self._tally.sent(self._now() - due)
        record = await sender.send(planned, due, user)
        records.write(record.line())
        self._tally.ended(record)

    async def _wait_until(self, due: float) -> bool:
        """Sleep until `due`; False if the test is to stop."""
        seconds = due - self._now()
        if seconds > 0 and not self._stopping.is_set():
            await _first(self._stopping.wait(), seconds)
        return not self._stopping.is_set()

    async def _report(self) -> None:
        """Tell the parent how it goes. Whatever it says now means: stop; so does its end."""
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if self._parent.poll():
                self._stopping.set()
            self._parent.send(self._tally.progress())


async def _first(event: Awaitable[Any], seconds: float) -> None:
    try:
        await asyncio.wait_for(event, seconds)
    except asyncio.TimeoutError:
        return
