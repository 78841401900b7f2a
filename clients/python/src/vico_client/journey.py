"""One request's way to an answer: server after server, pause after pause, until its deadline. Others do the waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vico_client.errors import VicoClientError
from vico_client.messages import GenerateRequest
from vico_client.retry import Retry, is_retryable
from vico_client.servers import Servers


class Journey:
    """Both clients do `with visit() as address: …` until that succeeds, and `pause_after` each failure.

    key: requests of the same key go to the same server. timeout: seconds for all of it.
    """

    def __init__(
        self,
        servers: Servers,
        retry: Retry,
        key: str,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._servers = servers
        self._retry = retry
        self._key = key
        self._clock = clock
        self._chance = chance
        self._ends = clock() + timeout
        self._attempts = 0
        self._visited: set[str] = set()  # in this attempt

    @property
    def seconds_left(self) -> float:
        """Until the deadline, never 0."""
        return max(self._ends - self._clock(), 1e-3)

    @contextmanager
    def visit(self) -> Iterator[str]:
        """The address to send to now; how the block ends is remembered of the server."""
        address = (self._untried() or self._servers.ranked(self._key))[0]
        self._visited.add(address)
        self._servers.begin(address)
        try:
            yield address
        except VicoClientError as error:
            self._servers.end(address, error)
            raise
        except BaseException:
            self._servers.abandon(address)
            raise
        self._servers.end(address, None)

    def pause_after(self, error: VicoClientError) -> float:
        """Seconds until the next visit: 0 while there is another server to ask. Raises `error` if there is no next."""
        if not is_retryable(error):
            raise error
        if self._untried():
            return 0.0
        self._attempts += 1
        self._visited.clear()
        pause = self._retry.pause(self._attempts, error, self._chance())
        if not self._retry.allows(self._attempts) or self._clock() + pause >= self._ends:
            raise error
        return pause

    def _untried(self) -> list[str]:
        return [address for address in self._servers.ranked(self._key) if address not in self._visited]


def affinity(request: GenerateRequest) -> str:
    """What requests share that should meet on one server: the concept, in any version; without one, nothing."""
    concept = request.concept.partition("@")[0] if isinstance(request.concept, str) else ""
    return f"concept {concept}" if concept else f"request {request.request_id}"
