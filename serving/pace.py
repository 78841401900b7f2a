"""How far work beside the loop has come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Pace:
    """How many rows were computed, told smoothly: a run counts as it goes, by the pace of those before it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._done = 0.0
        self._under_way: dict[object, tuple[int, float]] = {}
        self._seconds_per_row = 0.0

    def rows(self) -> float:
        """Rows computed so far, of the runs under way as many as they are likely to have."""
        with self._lock:
            now, pace = time.monotonic(), self._seconds_per_row
            estimates = (min(rows, (now - began) / pace) if pace else 0.0 for rows, began in self._under_way.values())
            return self._done + sum(estimates)

    @contextmanager
    def run(self, rows: int) -> Iterator[None]:
        """A run of so many rows, while the block lasts."""
        run, began = object(), time.monotonic()
        with self._lock:
            self._under_way[run] = rows, began
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[run]
                self._done += rows
                self._seconds_per_row = (time.monotonic() - began) / rows
