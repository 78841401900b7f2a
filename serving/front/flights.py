"""Calls under way to Triton. Each runs to its end, also when its client has gone: the loop is told, and answers soon.

A call that is cancelled while Triton answers it can end Triton 2.51 (its issues 7368 and 8034): of clients that went
away as they were refused about one in a thousand did.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import grpc

from serving.front.answer import stream_error
from serving.front.refusal import is_answer, unavailable


@dataclass(eq=False)
class _Flight:
    """A call under way."""

    rpc: Any
    task: asyncio.Task[bytes]
    streaming: bool
    lost: bool = False
    """A stage that it needs died: nobody will answer it."""


class Flights:
    """Used from one event loop.

    Args:
        give_up: tells the loop, by the name of a call, that nobody waits for it any more.
    """

    def __init__(self, give_up: Callable[[str], None]) -> None:
        self._give_up = give_up
        self._flights: set[_Flight] = set()

    def drop(self, streams_only: bool = False) -> None:
        """Tell everybody who waits, or who waits for a stream, that nobody will answer."""
        for flight in list(self._flights):
            if flight.streaming or not streams_only:
                flight.lost = True
                flight.rpc.cancel()

    async def unary(self, rpc: Any, call: str) -> bytes:
        """The answer.

        Raises:
            grpc.RpcError: Triton's refusal.
            Refused: the call was dropped.
            CancelledError: the client went away; the loop has been told.
        """
        flight = self._take_off(rpc, _answer_of(rpc), streaming=False)
        async with _Watched(flight, call, self._give_up):
            return await asyncio.shield(flight.task)

    async def stream(self, rpc: Any, message: bytes, call: str) -> AsyncGenerator[bytes, None]:
        """As `unary`, all responses to the one message of a stream."""
        box: asyncio.Queue[bytes | None] = asyncio.Queue()
        flight = self._take_off(rpc, _read(rpc, message, box), streaming=True)
        async with _Watched(flight, call, self._give_up):
            while (answer := await box.get()) is not None:
                yield answer
            await flight.task

    def _take_off(self, rpc: Any, work: Coroutine[Any, Any, bytes], *, streaming: bool) -> _Flight:
        flight = _Flight(rpc, asyncio.create_task(work), streaming)
        self._flights.add(flight)
        flight.task.add_done_callback(lambda done: self._landed(flight, done))
        return flight

    def _landed(self, flight: _Flight, done: asyncio.Task[bytes]) -> None:
        self._flights.discard(flight)
        if not done.cancelled():
            # looked at, as perhaps nobody else does
            done.exception()


async def _answer_of(rpc: Any) -> bytes:
    answer: bytes = await rpc
    return answer


async def _read(rpc: Any, message: bytes, box: asyncio.Queue[bytes | None]) -> bytes:
    """Put every response into the box; None at the end.

    Raises:
        grpc.RpcError: what one of them said went wrong. It is read on to the end all the same.
    """
    failed: grpc.RpcError | None = None
    try:
        await rpc.write(message)
        await rpc.done_writing()
        async for answer in rpc:
            failed = failed or stream_error(answer)
            if failed is None:
                box.put_nowait(answer)
    finally:
        box.put_nowait(None)
    if failed is not None:
        raise failed
    return b""


class _Watched:
    """Somebody waits for a call: if that ends without an answer, the loop is told."""

    def __init__(self, flight: _Flight, call: str, give_up: Callable[[str], None]) -> None:
        self._flight = flight
        self._call = call
        self._give_up = give_up

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or (isinstance(error, grpc.RpcError) and is_answer(error)):
            return
        self._give_up(self._call)
        if self._flight.lost:
            raise unavailable("a part of the server that it needed has died") from None
