"""The streams' end of the way from the loop: a socket, and a thread that hands letters to those who wait for them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Thread

from serving.streaming.letter import MAX_BYTES, Letter

logger = logging.getLogger("vico.serving")

Reader = Callable[[Letter], None]

_POLL_SECONDS = 0.5


class Letterbox:
    """Use from any thread.

    Args:
        path: where to listen; what an earlier process left there is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._readers: dict[str, Reader] = {}
        self._lock = Lock()
        self._closed = False
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(_POLL_SECONDS)
        self._thread = Thread(target=self._run, name="letterbox", daemon=True)
        self._thread.start()

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
        self._closed = True
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._closed:
            with suppress(TimeoutError):
                self._hand_over(self._socket.recv(MAX_BYTES))

    def _hand_over(self, content: bytes) -> None:
        try:
            letter = Letter.from_bytes(content)
            with self._lock:
                reader = self._readers.get(letter.call)
            if reader is not None:
                reader(letter)
        except Exception:
            # whatever one letter does, the next one is for somebody else
            logger.exception("a letter about progress was lost")
