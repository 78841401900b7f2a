"""Which server a request goes to: the one that has its concept resident, unless that one is gone, failing or busy.

Rendezvous hashing (Thaler and Ravishankar 1998): every client ranks the servers alike for a concept, and when a server
comes or goes only the concepts that it ranked first for move.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from vico_client.errors import DeadlineExceeded, ServerError, Unavailable, VicoClientError

FAILURES = 3  # faults in a row, or requests in a row that were too slow, after which a server is passed over
FIRST_EJECTION = 1.0  # seconds
LONGEST_EJECTION = 30.0
BUSY = 8  # calls of this client at one server; with more, and twice as many as elsewhere, others take turns


@dataclass
class _Server:
    """What a client knows of a server."""

    address: str
    under_way: int = 0
    failures: int = 0  # in a row
    ejections: int = 0  # in a row
    back_at: float = 0.0  # nothing is sent there before this time, if others can take it


class Servers:
    """The servers of one client. Used from any thread. clock: seconds."""

    def __init__(self, addresses: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._servers = {address: _Server(address) for address in addresses}
        self._clock = clock
        self._lock = threading.Lock()

    def ranked(self, key: str) -> list[str]:
        """The servers that can be expected to answer, the best for `key` first; if none can, the first to be tried."""
        with self._lock:
            now = self._clock()
            ranking = sorted(self._servers.values(), key=lambda server: _score(server.address, key), reverse=True)
            available = [server for server in ranking if server.back_at <= now]
            least = min((server.under_way for server in available), default=0)
            available.sort(key=lambda server: server.under_way >= max(BUSY, 2 * least))  # stable: keeps the ranking
            return [server.address for server in available or ranking[:1]]

    def begin(self, address: str) -> None:
        """A request goes there. Of a server that was passed over one request finds out whether it is back."""
        with self._lock:
            server = self._servers[address]
            server.under_way += 1
            if server.ejections:
                server.back_at = self._clock() + _ejection(server.ejections)

    def end(self, address: str, error: VicoClientError | None) -> None:
        """The request is over. A refusal of the request itself says that the server is well."""
        with self._lock:
            server = self._servers[address]
            server.under_way -= 1
            if not _is_fault(error):
                server.failures = server.ejections = 0
                server.back_at = 0.0
                return
            server.failures += 1
            if isinstance(error, Unavailable) or server.failures >= FAILURES or server.ejections:
                server.ejections += 1
                server.back_at = self._clock() + _ejection(server.ejections)

    def abandon(self, address: str) -> None:
        """The request was given up on this side: nothing was learnt."""
        with self._lock:
            self._servers[address].under_way -= 1


def _score(address: str, key: str) -> bytes:
    return blake2b(f"{address}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _ejection(times: int) -> float:
    return min(LONGEST_EJECTION, FIRST_EJECTION * 2.0 ** min(times - 1, 60))


def _is_fault(error: VicoClientError | None) -> bool:
    """Of the server: it is gone, broken, or too slow. A field that is named is one of the request's own."""
    if isinstance(error, Unavailable):
        return error.field in (None, "request")
    return isinstance(error, (ServerError, DeadlineExceeded)) and error.field in (None, "request", "timeout")
