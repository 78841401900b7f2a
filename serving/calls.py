"""Calls under way in the loop, by the front door's name for them: how a client that went away frees its lanes.

Triton tells a client's cancellation to the next step of an ensemble, never to the one that is running: the front door
tells it here.
"""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from threading import Lock
from typing import Any

from serving.errors import ServingError, Status

MAX_REMEMBERED = 4096
"""Cancelled calls that have not come yet, or never will."""


class CallCancelled(ServingError):  # noqa: N818 - as its siblings in serving.errors
    """Nobody waits for the pictures any more."""

    status = Status.UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("request", "cancelled", "the same request again")


class Calls:
    """Futures by call; a call may be cancelled before it comes. Used from any thread."""

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._futures: dict[str, Future[Any]] = {}
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._max_remembered = max_remembered
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._futures)

    def require_wanted(self, call: str) -> None:
        """Raise CallCancelled if the call was cancelled before it came."""
        with self._lock:
            if call in self._cancelled:
                raise CallCancelled

    def add(self, call: str, future: Future[Any]) -> None:
        """Keep the future until it is done; cancel it at once if the call was cancelled meanwhile."""
        with self._lock:
            cancelled = call in self._cancelled
            if not cancelled:
                self._futures[call] = future
        if cancelled:
            future.cancel()
        else:
            future.add_done_callback(lambda _: self._forget(call))

    def cancel(self, call: str) -> None:
        """Cancel the call, or the moment it comes."""
        with self._lock:
            future = self._futures.get(call)
            if future is None:
                self._cancelled[call] = None
                while len(self._cancelled) > self._max_remembered:
                    self._cancelled.popitem(last=False)
        if future is not None:
            future.cancel()

    def cancel_all(self) -> None:
        """The front door died, and everybody's connection with it."""
        with self._lock:
            futures = list(self._futures.values())
        for future in futures:
            future.cancel()

    def _forget(self, call: str) -> None:
        with self._lock:
            self._futures.pop(call, None)
