"""The loop's end: a thread that answers one question after the other."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path

from serving.errors import ServingError
from serving.foresight.question import MAX_BYTES, NONE, Question, refusal_of
from serving.listener import Listener

logger = logging.getLogger("vico.serving")

Answer = Callable[[Question], ServingError | None]

_PATIENCE_SECONDS = 0.05
"""For a question to come, and an answer to be taken."""


class Answering:
    """Until it is closed.

    Args:
        path: where to listen, see `Listener`.
        answer: from the answering thread; must be quick.
    """

    def __init__(self, path: Path, answer: Answer) -> None:
        self._answer = answer
        self._listener = Listener(path, socket.SOCK_STREAM, self._take, "foresight")

    def close(self) -> None:
        """Answer no more."""
        self._listener.close()

    def _take(self, listening: socket.socket) -> None:
        asker, _ = listening.accept()
        with asker:
            self._serve(asker)

    def _serve(self, asker: socket.socket) -> None:
        try:
            asker.settimeout(_PATIENCE_SECONDS)
            asker.sendall(self._line(asker.makefile("rb").readline(MAX_BYTES)))
        except OSError as error:
            logger.debug("a question went away: %s", error)

    def _line(self, question: bytes) -> bytes:
        error = self._answer(Question.from_line(question))
        return NONE if error is None else refusal_of(error).to_line()
