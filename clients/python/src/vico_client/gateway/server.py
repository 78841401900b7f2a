"""The gateway as a process: uvicorn around the application."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from rich.console import Console

from vico_client.aio import AsyncClient
from vico_client.commands.access import Access
from vico_client.errors import InvalidRequest
from vico_client.gateway.app import create_app
from vico_client.gateway.limits import Limits
from vico_client.gateway.readiness import Readiness
from vico_client.retry import Retry

_GRACE_SECONDS = 30


def run(
    access: Access,
    limits: Limits,
    *,
    host: str,
    port: int,
    https: tuple[Path | None, Path | None],
    connections: int,
) -> None:
    """Listen until SIGTERM or SIGINT, then SystemExit(0). InvalidRequest: the port is taken, or a file not there."""
    app = make_app(access, limits)
    certificate, key = https
    config = uvicorn.Config(
        app,
        log_level="warning",
        limit_concurrency=connections,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_certfile=_readable("https_cert", certificate),
        ssl_keyfile=_readable("https_key", key),
        server_header=False,
    )
    listening = _listen(host, port)
    scheme = "https" if certificate else "http"
    # one line, for people and for scripts that wait for it
    Console(soft_wrap=True).print(f"ready: {scheme}://{host}:{listening.getsockname()[1]}/v1", highlight=False)
    _end_well_on_signals()
    uvicorn.Server(config).run(sockets=[listening])


def _end_well_on_signals() -> None:
    """Uvicorn stops in good order, and then raises the signal again for whoever handled it before."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def make_app(access: Access, limits: Limits) -> FastAPI:
    """The application in front of the servers of `access`."""
    # the callers retry, told when by Retry-After; here another server is asked, if there are several
    client = AsyncClient(**access.arguments(), retry=Retry(attempts=1))
    return create_app(client, Readiness(access.settings()), limits)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise InvalidRequest(f"cannot be listened to ({error.strerror})", field="port", hint="a free port") from None
    listening.listen(128)
    return listening


def _readable(name: str, path: Path | None) -> str | None:
    if path is not None and not path.is_file():
        raise InvalidRequest(f"no file at {str(path)!r}", field=name, hint="the path of a readable PEM file")
    return None if path is None else str(path)
