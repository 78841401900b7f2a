"""A unary call's message. It is read when the call has its place, and not waited for without end: gRPC's own unary
handlers begin when the message is there, so that half a message would hold a call which nobody has counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from serving.front.refusal import Refused, invalid


async def only(messages: AsyncIterator[bytes], seconds: float) -> bytes:
    """The first message of a call.

    Raises:
        Refused: there is none, or not within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            async for message in messages:
                return message
    except TimeoutError:
        problem, accepted = f"its message was not whole after {seconds:g} s", "the same request later"
        raise Refused(grpc.StatusCode.UNAVAILABLE, "request", problem, accepted) from None
    raise invalid("request", "no message", "one")
