"""The loop's end: a thread that answers one question after the other."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from serving.errors import ServingError
from serving.foresight.question import MAX_BYTES, NONE, Question, refusal_of

logger = logging.getLogger("vico.serving")

Answer = Callable[[Question], ServingError | None]

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 0.05
"""For a question to come, and an answer to be taken."""
_WAITING = 256
"""Questions that may wait."""


class Answering:
    """Until it is closed.

    Args:
        path: where to listen; what an earlier process left there is replaced.
        answer: from the answering thread; must be quick.
    """

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path, self._answer = path, answer
        self._closed = False
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(_WAITING)
        self._socket.settimeout(_POLL_SECONDS)
        self._thread = Thread(target=self._run, name="foresight", daemon=True)
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
                asker, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                # out of descriptors, say: the thread must outlive it
                logger.warning("questions cannot be taken: %s", error)
                time.sleep(_POLL_SECONDS)
                continue
            with asker:
                self._serve(asker)

    def _serve(self, asker: socket.socket) -> None:
        """Whatever one question does, the next one is somebody else's."""
        try:
            asker.settimeout(_PATIENCE_SECONDS)
            asker.sendall(self._line(asker.makefile("rb").readline(MAX_BYTES)))
        except OSError as error:
            logger.debug("a question went away: %s", error)
        except Exception:
            logger.exception("a question could not be answered")

    def _line(self, question: bytes) -> bytes:
        error = self._answer(Question.from_line(question))
        return NONE if error is None else refusal_of(error).to_line()
