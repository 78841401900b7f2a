"""Whether the server behind the gateway serves: by gRPC's health protocol, which needs no API key."""

from __future__ import annotations

from dataclasses import dataclass

import grpc.aio

from vico_client.channel import open_channel
from vico_client.settings import Settings

_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
_SECONDS = 5.0


@dataclass(frozen=True)
class Readiness:
    """Asks the servers of the settings, over connections made for the question."""

    settings: Settings

    async def __call__(self) -> bool:
        """Whether any of them serves."""
        for address in self.settings.addresses:
            if await self._serves(address):
                return True
        return False

    async def _serves(self, address: str) -> bool:
        async with open_channel(grpc.aio, address, self.settings) as channel:
            try:
                answer: bytes = await channel.unary_unary(_CHECK)(b"", timeout=_SECONDS)
            except grpc.RpcError:
                return False
        return answer == _SERVING
