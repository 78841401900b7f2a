"""The front door's process. Its first line of input is the config, each further one a command; at the end it ends.

It speaks in lines too: `listening <port>`, then `serving` or `failed` for every command to serve, and `here` when it is
asked for a sign of life.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from serving.front.config import FrontConfig
from serving.front.door import Door, run_until
from serving.front.visit import FrontTelemetry
from serving.telemetry.folder import reserve
from serving.telemetry.logs import configure_logs
from serving.telemetry.traces import open_traces
from vico.errors import VicoError


def main() -> int:
    """Exit status: 0 = drained."""
    for number in (signal.SIGTERM, signal.SIGINT):  # the supervisor decides: it drains before it stops
        signal.signal(number, signal.SIG_IGN)
    return asyncio.run(_serve())


async def _serve() -> int:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        config = FrontConfig.from_json(await reader.readline())
        configure_logs(config.telemetry)
        door = Door(config, FrontTelemetry(open_traces()))
        reserve()
        _tell(f"listening {await door.start()}")
    except VicoError as error:
        _tell(f"refused {json.dumps([error.field, error.problem, error.accepted])}")
        return 1
    await run_until(door, _commands(reader), _tell)
    return 0


async def _commands(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    while line := await reader.readline():
        yield json.loads(line)


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
