"""Users who ask for one concept after the other, until there were enough swaps and enough pictures."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import dataclass, field

from vico_client import Client, Retry, VicoClientError

from benchmarks.serving.running import Running
from benchmarks.soak.checks import Judge, Swapper, request_for
from benchmarks.soak.settings import Soak

_PATIENCE = 600.0
_TURNS = 5
"""Of so many requests one is a picture of all steps, until there are enough."""


@dataclass
class Work:
    """What is done so far, and the threads that do it; a context manager, which stops them."""

    soak: Soak
    server: Running
    judge: Judge
    swapper: Swapper
    images: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Work:
        self._first = self.server.log.swaps()
        tasks = [lambda user=user: self._use(user) for user in range(self.soak.users)]
        self._threads = [threading.Thread(target=task, daemon=True) for task in (*tasks, self._swap)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    @property
    def swaps(self) -> int:
        """Slots written since the work began."""
        return self.server.log.swaps() - self._first

    @property
    def progress(self) -> float:
        """Share of the work, at most 1."""
        return min(1.0, self.swaps / self.soak.swaps, self.images / self.soak.images)

    @property
    def stopped(self) -> bool:
        """Whether a thread ended by itself, for an error that no user should see."""
        return not all(thread.is_alive() for thread in self._threads)

    def _use(self, user: int) -> None:
        ids = self.swapper.ids
        with Client(self.server.address, timeout=_PATIENCE, retry=Retry(attempts=None)) as client:
            for turn in itertools.count():
                if self._ended.is_set():
                    return
                # users are far from each other in the row of concepts: what one needs another has driven out
                concept = ids[(turn * (self.soak.users + 1) + user * 3) % len(ids)]
                steps = self.soak.picture_steps if turn % _TURNS == 0 and self.images < self.soak.images else 1
                self._ask(client, concept, steps)

    def _ask(self, client: Client, concept: str, steps: int) -> None:
        try:
            self.judge.judge(client.send(request_for(concept, steps)), steps)
        except VicoClientError as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
        else:
            with self._lock:
                self.images += steps > 1

    def _swap(self) -> None:
        while not self._ended.is_set():
            try:
                self.swapper.swap()
            except VicoClientError as error:
                self.errors[f"{type(error).__name__}: {error}"] += 1
