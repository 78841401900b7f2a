"""The streams' end of the way from the loop: a socket, and a thread that hands letters to those who wait for them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from serving.listener import Listener
from serving.streaming.letter import MAX_BYTES, Letter

Reader = Callable[[Letter], None]


class Letterbox:
    """Use from any thread.

    Args:
        path: where to listen, see `Listener`.
    """

    def __init__(self, path: Path) -> None:
        self._readers: dict[str, Reader] = {}
        self._lock = Lock()
        self._listener = Listener(path, socket.SOCK_DGRAM, self._take, "letterbox")

    @contextmanager
    def reading(self, call: str, reader: Reader) -> Iterator[None]:
        """Letters about a call go to `reader`, one after the other, in the letterbox's thread; it must be quick."""
        with self._lock:
            self._readers[call] = reader
        try:
            yield
        finally:
            with self._lock:
                self._readers.pop(call, None)

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    def _take(self, listening: socket.socket) -> None:
        letter = Letter.from_bytes(listening.recv(MAX_BYTES))
        with self._lock:
            reader = self._readers.get(letter.call)
        if reader is not None:
            reader(letter)
