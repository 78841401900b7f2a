"""`vico gateway`: OpenAI's images API in front of a ViCo server (needs the extra `gateway`)."""

# No `from __future__ import annotations`: typer reads these annotations, on Python 3.9 too.
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Optional

import typer

from vico_client.commands.access import Access, Address, Timeout, TlsCa, TlsCert, TlsKey
from vico_client.commands.outcome import exit_codes
from vico_client.settings import DEFAULT_ADDRESS, DEFAULT_TIMEOUT

_CONNECTIONS = 512  # at once; a request holds at most its photo in memory


def gateway(
    address: Address = DEFAULT_ADDRESS,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8080,
    timeout: Timeout = DEFAULT_TIMEOUT,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    https_cert: Annotated[Optional[Path], typer.Option(help="The gateway's own certificate (PEM).")] = None,
    https_key: Annotated[Optional[Path], typer.Option(help="Its private key (PEM).")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without HTTPS.")] = False,
    photo_mib: Annotated[int, typer.Option(min=1, help="Largest reference photo.")] = 8,
    photo_megapixels: Annotated[int, typer.Option(min=1, help="Largest reference photo.")] = 16,
) -> None:
    """Answer OpenAI's images API with the pictures of a ViCo server.

    POST /v1/images/generations and /v1/images/edits, GET /v1/models, /health/live, /health/ready, /openapi.json.
    Keys of the callers are passed on. Ends on SIGTERM or Ctrl-C, when requests under way are done.
    """
    if (https_cert is None) != (https_key is None):
        raise typer.BadParameter("give both of --https-cert and --https-key, or neither", param_hint="--https-cert")
    if https_cert is None and not insecure and not _is_loopback(host):
        problem = (
            f"{host} is beyond loopback, and keys and pictures would pass in clear; give --https-cert and --https-key"
        )
        raise typer.BadParameter(f"{problem}, or --insecure behind a proxy that has them", param_hint="--host")
    with exit_codes():
        from vico_client.gateway.limits import Limits
        from vico_client.gateway.server import run

        access = Access(address, timeout, tls_ca, tls_cert, tls_key, api_key="")
        limits = Limits(photo_mib * 2**20, photo_megapixels * 1_000_000)
        run(access, limits, host=host, port=port, https=(https_cert, https_key), connections=_CONNECTIONS)


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
