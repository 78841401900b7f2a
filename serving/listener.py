"""A Unix socket in the server's private folder, and the thread that takes what comes to it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

logger = logging.getLogger("vico.serving")

_POLL_SECONDS = 0.5
_WAITING = 256
"""Connections that may wait."""


class Listener:
    """Until it is closed.

    Args:
        path: where to listen; what an earlier process left there is replaced.
        kind: of the socket.
        take: takes one message or connection from the socket, in the listener's thread; must be quick. What it raises
            is logged: whatever one sender does, the next one is somebody else.
        name: of the thread.
    """

    def __init__(self, path: Path, kind: socket.SocketKind, take: Callable[[socket.socket], None], name: str) -> None:
        self._path, self._take = path, take
        self._closed = False
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, kind)
        self._socket.bind(str(path))
        if kind == socket.SOCK_STREAM:
            self._socket.listen(_WAITING)
        self._socket.settimeout(_POLL_SECONDS)
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._closed = True
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._closed:
            try:
                self._take(self._socket)
            except TimeoutError:
                continue
            except OSError as error:
                # out of descriptors, say: the thread must outlive it
                logger.warning("the socket %r took nothing: %s", self._path.name, error)
                time.sleep(_POLL_SECONDS)
            except Exception:
                logger.exception("what came to the socket %r was lost", self._path.name)
