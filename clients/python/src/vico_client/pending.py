"""A request under way that can be given up: while it waits for an answer, and while it waits to be sent again."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from vico_client.errors import Cancelled
from vico_client.messages import GenerateResult


class Cancellation:
    """Says that nobody wants the answer any more. Used from any thread.

    ends_calls: whether it also ends a call under way; a call that can be ended so costs two more thread switches.
    """

    def __init__(self, *, ends_calls: bool = True) -> None:
        self.ends_calls = ends_calls
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._call: Any = None

    def cancel(self) -> None:
        """End the call under way, or the pause before the next one; without either, whatever comes."""
        with self._lock:
            self._cancelled.set()
            call = self._call
        if call is not None:
            call.cancel()

    def covers(self, call: Any) -> None:
        """`call` (a grpc.Future) is what `cancel` ends from now on."""
        with self._lock:
            self._call = call
        if self._cancelled.is_set():
            call.cancel()

    def pause(self, seconds: float) -> None:
        """Wait; Cancelled as soon as it is."""
        if self._cancelled.wait(seconds):
            raise Cancelled("given up by the caller")

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more."""
        return self._cancelled.is_set()


class PendingResult(Future[GenerateResult]):
    """What `Client.submit` returns: a `concurrent.futures.Future`, also for `wait` and `as_completed`.

    `result()` raises what `generate_result` would, and Cancelled after `cancel()`.
    request_id: under which the server logs the request.
    """

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id
        self.cancellation = Cancellation()

    def cancel(self) -> bool:
        """Give the request up, at whatever point it is; the server frees its lanes. False: it was done already."""
        if self.done():
            return False
        self.cancellation.cancel()
        return True
