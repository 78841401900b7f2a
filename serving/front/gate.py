"""Who may come in now: how many at once, how many a minute, and whether anybody."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from serving.front.config import Limits
from serving.front.keys import Key
from serving.front.refusal import Refused, unavailable

_MAX_SAVED = 60.0
"""Seconds of a client's rate that may be saved up."""


class Gate:
    """Counts calls. Used from one event loop.

    Args:
        limits: of calls at once.
        now: seconds on a clock that does not jump.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._now = now
        self._inside: Counter[str] = Counter()
        self._places: Counter[str] = Counter()
        self._rates: dict[str, tuple[float, float]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.serving = False
        self.closing = False

    @property
    def open(self) -> bool:
        """Whether new calls are taken."""
        return self.serving and not self.closing

    @property
    def inside(self) -> int:
        """Requests under way."""
        return self._inside.total()

    @contextmanager
    def call(self, key: Key) -> Iterator[None]:
        """One request of a client, from its message to its answer.

        Raises:
            Refused: not now.
        """
        self._check(key)
        self._inside[key.client] += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside[key.client] -= 1
            self._inside += Counter()
            if not self._inside:
                self._empty.set()

    @contextmanager
    def place(self, key: Key) -> Iterator[None]:
        """gRPC's room for a call of a client, from its headers to its end: also while it says nothing.

        Raises:
            Refused: the client has as many as it may, or there is none left.
        """
        held = self._places[key.client]
        if held >= self._limits.calls_per_client:
            problem = f"{held} of this client are under way"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "request", problem, "fewer at once")
        if self._places.total() >= self._limits.calls:
            problem = "as many calls as the server takes are under way"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "request", problem, "the same request later")
        self._places[key.client] += 1
        try:
            yield
        finally:
            self._places[key.client] -= 1
            self._places += Counter()

    async def emptied(self, grace_seconds: float) -> bool:
        """Whether everybody left within the grace."""
        if self._empty.is_set():
            return True
        try:
            await asyncio.wait_for(self._empty.wait(), grace_seconds)
        except TimeoutError:
            return False
        return True

    def _check(self, key: Key) -> None:
        if self.closing:
            raise unavailable("the server is shutting down")
        if not self.serving:
            raise unavailable("the server is starting, or mending itself")
        if key.requests_per_minute is not None:
            self._take_turn(key.client, key.requests_per_minute)

    def _take_turn(self, client: str, per_minute: float) -> None:
        """A bucket that fills at the client's rate and holds a minute's worth, at least one."""
        most = max(1.0, per_minute * _MAX_SAVED / 60.0)
        saved, at = self._rates.get(client, (most, self._now()))
        saved = min(most, saved + (self._now() - at) * per_minute / 60.0)
        if saved < 1.0:
            self._rates[client] = (saved, self._now())
            seconds = (1.0 - saved) * 60.0 / per_minute
            accepted = f"{per_minute:g} a minute; the next one in {seconds:.1f} s"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "request", "too many in the last minute", accepted)
        self._rates[client] = (saved - 1.0, self._now())
