"""Beside the requests: tells once a second how things stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Thread


class Sampler:
    """Calls everything in turn, again and again.

    Args:
        tell: what to call; must not raise.
        interval_seconds: between two rounds.
    """

    def __init__(self, tell: Sequence[Callable[[], None]], interval_seconds: float = 1.0) -> None:
        self._tell = tell
        self._interval_seconds = interval_seconds
        self._stop = Event()
        self._thread = Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> Sampler:
        """Begin; the first round is made at once, by the caller."""
        self.look()
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """One round."""
        for tell in self._tell:
            tell()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            self.look()
