"""The front door's end: a question, and the loop's answer within a moment or none."""

from __future__ import annotations

import asyncio
import logging

from serving.foresight.question import MAX_BYTES, Question, Refusal, read_answer

logger = logging.getLogger("vico.front")

_PATIENCE_SECONDS = 0.1
"""For an answer: the loop looks up between two steps, which takes it a millisecond or two."""


class Foresight:
    """Used from one event loop.

    Args:
        path: of the loop's socket; "" = nobody is asked.
    """

    def __init__(self, path: str = "") -> None:
        self._path = path

    async def refusal(self, question: Question) -> Refusal | None:
        """Why the request is not to be begun; None: it may be, or nobody knows."""
        if not self._path:
            return None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return read_answer(await self._ask(question.to_line()))
        except (OSError, TimeoutError, ValueError) as error:
            # the loop starts, stands still or is being replaced: it is asked again when the request gets there
            logger.debug("the loop was not asked: %r", error)
            return None

    async def _ask(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_BYTES)
        try:
            writer.write(line)
            return await reader.readline()
        finally:
            writer.close()
