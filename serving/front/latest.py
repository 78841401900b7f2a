"""A stream's answers for a client that may read slowly: of its reports of progress only the latest waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from tritonclient.grpc import service_pb2 as pb

_EVENT = "event"


async def latest(answers: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same `ModelStreamInferResponse`s in the same order, but for progress that was overtaken by later progress.

    Triton is read at its own pace, so that nothing piles up there; what waits here are the pictures, which a request
    bounds, and one report of progress.
    """
    mail = _Mail()
    pump = asyncio.create_task(_pump(answers, mail))
    try:
        while (answer := await mail.next()) is not None:
            yield answer
        await pump
    finally:
        pump.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await pump


async def _pump(answers: AsyncGenerator[bytes, None], mail: _Mail) -> None:
    try:
        async with aclosing(answers):
            async for answer in answers:
                mail.put(answer, passing=is_progress(answer))
    finally:
        mail.end()


class _Mail:
    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._last_passes = False
        self._ended = False
        self._changed = asyncio.Event()

    def put(self, answer: bytes, passing: bool) -> None:
        if passing and self._last_passes and self._waiting:
            self._waiting.pop()
        self._waiting.append(answer)
        self._last_passes = passing
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    async def next(self) -> bytes | None:
        while not self._waiting:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.pop(0)


def is_progress(answer: bytes) -> bool:
    """Whether a `ModelStreamInferResponse` tells of progress alone."""
    response = pb.ModelStreamInferResponse.FromString(answer).infer_response
    for tensor, content in zip(response.outputs, response.raw_output_contents, strict=False):
        if tensor.name == _EVENT:
            event = json.loads(content[4:])
            return bool(event.get("type") == "progress")
    return False
