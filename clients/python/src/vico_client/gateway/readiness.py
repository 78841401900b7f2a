"""Whether the server behind the gateway serves: by gRPC's health protocol, which needs no API key."""

from __future__ import annotations

from typing import Any

import grpc.aio

from vico_client.channel import open_channel
from vico_client.settings import Settings

_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
_SECONDS = 5.0


class Readiness:
    """Asks all servers of the settings; belongs to the event loop of its first call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels: dict[str, Any] = {}

    async def __call__(self) -> bool:
        """Whether any of them serves."""
        for address in self._settings.addresses:
            if await self._serves(address):
                return True
        return False

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await channel.close()

    async def _serves(self, address: str) -> bool:
        if address not in self._channels:
            self._channels[address] = open_channel(grpc.aio, address, self._settings)
        try:
            answer: bytes = await self._channels[address].unary_unary(_CHECK)(b"", timeout=_SECONDS)
        except grpc.RpcError:
            return False
        return answer == _SERVING
