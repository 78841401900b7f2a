"""The standard gRPC health service: open to everybody, as probes show no key. Two messages, two bytes each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""`HealthCheckResponse {status = 1}`."""

_POLL_SECONDS = 0.5


class Health:
    """Answers for the whole server, whatever service is asked about: all of them come and go together."""

    def __init__(self) -> None:
        self.serving = False

    async def check(self, _message: bytes, _context: Any) -> bytes:
        """`Check`."""
        return self._now()

    async def watch(self, _message: bytes, _context: Any) -> AsyncIterator[bytes]:
        """`Watch`: the state now, and again whenever it changes."""
        told = b""
        while True:
            if (now := self._now()) != told:
                yield now
                told = now
            await asyncio.sleep(_POLL_SECONDS)

    def _now(self) -> bytes:
        return SERVING if self.serving else NOT_SERVING
