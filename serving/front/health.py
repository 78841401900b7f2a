"""The standard gRPC health service: open to everybody, as probes show no key. Two messages, two bytes each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from serving.front.config import Limits
from serving.front.refusal import Refused

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""`HealthCheckResponse {status = 1}`."""

_POLL_SECONDS = 0.5


class Health:
    """Answers for the whole server, whatever service is asked about: all of them come and go together.

    Whoever asks shows no key, so those who ask are counted by where they come from.

    Args:
        limits: of questions at once.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._asking: Counter[str] = Counter()
        self.serving = self.closing = False

    async def check(self, _messages: AsyncIterator[bytes], context: Any) -> bytes:
        """`Check`; its message says nothing that counts, and is not read: nobody has room for it without a key."""
        try:
            with self._place(context.peer()):
                return self._now()
        except Refused as refused:
            await context.abort(refused.status, refused.line)
            raise AssertionError("abort raises") from None

    async def watch(self, _messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """`Watch`: the state now, and again whenever it changes; to the end of the server."""
        try:
            with self._place(context.peer()):
                told = b""
                while not (self.closing and told == NOT_SERVING):
                    if (now := self._now()) != told:
                        yield now
                        told = now
                    await asyncio.sleep(_POLL_SECONDS)
        except Refused as refused:
            await context.abort(refused.status, refused.line)

    @contextmanager
    def _place(self, peer: str) -> Iterator[None]:
        host = peer.rpartition(":")[0]
        if self._asking[host] >= self._limits.probes_per_host or self._asking.total() >= self._limits.probes:
            problem, accepted = "too many ask after the health at once", "the same request later"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "request", problem, accepted)
        self._asking[host] += 1
        try:
            yield
        finally:
            self._asking[host] -= 1
            self._asking += Counter()

    def _now(self) -> bytes:
        return SERVING if self.serving and not self.closing else NOT_SERVING
