"""`vico studio`. Gradio is imported when the command runs, so that `vico --help` is quick."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from studio.errors import StudioError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def studio(
    base: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Base to train on; the server's own.")],
    registry: Annotated[Path, typer.Option(file_okay=False, help="Folder of concepts that the server watches.")],
    address: Annotated[
        str, typer.Option(envvar="VICO_ADDRESS", help="The server's gRPC address, host:port; several with commas.")
    ] = "localhost:8001",
    key_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File with the server's API key; default: VICO_API_KEY."),
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="TLS: certificates (PEM) to trust.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for a picture.")] = 300,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback needs --password-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 7860,
    password_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with the page's password.")
    ] = None,
    keep_photos: Annotated[
        Path | None, typer.Option(file_okay=False, help="Where photos go that people tick to be kept; else none are.")
    ] = None,
    gateway: Annotated[str, typer.Option(help="URL of `vico gateway`, for the curl code.")] = "http://localhost:8080",
) -> None:
    """A web page for people who do not code: photos → concept → pictures.

    Trains on this machine, one concept at a time, beside a running `vico serve` on the same registry.
    """
    password = _read(password_file)
    if host not in _LOOPBACK and not password:
        raise StudioError("host", f"{host} can be reached by others", "127.0.0.1, or a --password-file")
    if not (base / "model_index.json").is_file():
        raise StudioError("base", f"{base} is not a base", "a diffusers folder of Stable Diffusion 1.x")
    _exit_on_signals()
    with tempfile.TemporaryDirectory(prefix="vico-studio-", ignore_cleanup_errors=True) as folder:
        private = Path(folder)
        # read when Gradio is imported
        os.environ |= {"GRADIO_TEMP_DIR": str(private / "uploads"), "GRADIO_ANALYTICS_ENABLED": "False"}
        from vico_client import TLS, Client

        from studio.jobs import Jobs
        from studio.registry import Registry
        from studio.session import Studio
        from studio.web import Web, serve
        from studio.workshop import Workshop

        packages, jobs = Registry(registry), Jobs()
        workshop = Workshop(base.resolve(), packages, jobs, private, keep_photos)
        tls = TLS(tls_ca) if tls_ca else None
        with Client(address, timeout=timeout, tls=tls, api_key=_read(key_file) or None) as client:
            page = Studio(workshop, client, packages, address, gateway)
            # one line, for people and for scripts that wait for it
            console = Console(soft_wrap=True)
            try:
                serve(page, Web(host, port, password), lambda url: console.print(f"ready: {url}", highlight=False))
            finally:
                jobs.cancel()


def _exit_on_signals() -> None:
    """SIGTERM and Ctrl-C end the command in order: uvicorn, done, raises again what it caught."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


def _read(file: Path | None) -> str:
    if file is None:
        return ""
    content = file.read_text(encoding="utf-8").strip()
    if not content:
        raise StudioError(file.name, "it is empty", "a file with one line")
    return content
