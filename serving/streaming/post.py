"""The loop's end of the way to the streams.

A datagram socket in the server's private folder: either end may be killed, frozen or started anew, and the other
neither waits nor breaks. What is lost is a look at a picture that is not done.
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from threading import Condition, Thread

from serving.streaming.letter import Letter
from serving.streaming.preview import PreviewMap
from serving.streaming.progress import Progress

logger = logging.getLogger("vico.serving")

_PATIENCE_SECONDS = 0.2
"""For a reader whose letters pile up; then the letter is dropped."""


class Post:
    """Sends progress in a thread of its own. Of several reports about one call only the latest waits.

    Args:
        path: of the other end's socket, which need not be there.
        previews: makes thumbnails of what the sampler expects.
    """

    def __init__(self, path: Path, previews: PreviewMap) -> None:
        self._path = str(path)
        self._previews = previews
        self._waiting: dict[str, Progress] = {}
        self._wake = Condition()
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_PATIENCE_SECONDS)
        self._thread = Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def put(self, call: str, progress: Progress) -> None:
        """Have it sent; returns at once, from any thread."""
        with self._wake:
            self._waiting[call] = progress
            self._wake.notify()

    def close(self) -> None:
        """Send nothing more."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while (next_one := self._take()) is not None:
            try:
                self._send(*next_one)
            except Exception:
                logger.exception("progress could not be shown")

    def _take(self) -> tuple[str, Progress] | None:
        with self._wake:
            while not (self._waiting or self._closed):
                self._wake.wait()
            if self._closed:
                return None
            call = next(iter(self._waiting))
            return call, self._waiting.pop(call)

    def _send(self, call: str, progress: Progress) -> None:
        shown = tuple(None if clean is None else self._previews.thumbnail(clean) for clean in progress.clean)
        letter = Letter(call, progress.done, progress.steps, progress.seconds_left, shown)
        try:
            self._socket.sendto(letter.to_bytes(), self._path)
        except OSError as error:
            # nobody is there, or nobody reads: the next letter says more than this one
            logger.debug("progress was dropped: %s", error)
