"""`vico serve`."""

from __future__ import annotations

import signal
import time
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from serving.admin.opening import open_admin
from serving.admin.secret import read_secret
from serving.command import HOST, Ports
from serving.config import MIB, ServingConfig, registry_place
from serving.launcher import Server


class Device(StrEnum):
    """What the graphs run on; each is a key of `serving.targets.TARGETS`."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


def serve(
    graphs: Annotated[Path, typer.Option(help="Folder made by `vico export`.")],
    registry: Annotated[str, typer.Option(help="Folder of concept packages (new files count at once), or a URL.")],
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8001,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8002,
    device: Annotated[Device, typer.Option(help="What the graphs run on.")] = Device.CPU,
    threads: Annotated[int, typer.Option(min=0, help="Threads of one graph; 0 = all cores.")] = 0,
    max_lanes: Annotated[int, typer.Option(min=1, max=64, help="Pictures in the running batch.")] = 8,
    max_queue: Annotated[int, typer.Option(min=8, help="Pictures that may wait; more are refused.")] = 64,
    slots: Annotated[int, typer.Option(min=1, max=64, help="Concepts resident on the device.")] = 8,
    host_mib: Annotated[int, typer.Option(min=1, help="Concept packages in host memory.")] = 2048,
    reference_mib: Annotated[int, typer.Option(min=1, help="Reference features in host memory.")] = 2048,
    registry_seconds: Annotated[float, typer.Option(min=0.1, help="Between looks at a registry's URL.")] = 5,
    require_signature: Annotated[
        Path | None, typer.Option(help="Public key (PEM): packages that it did not sign are refused.")
    ] = None,
    admin_secret_file: Annotated[
        Path | None, typer.Option(help="Secret of the admin service (`vico concepts`); without it there is none.")
    ] = None,
    admin_port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8003,
    start_timeout: Annotated[float, typer.Option(min=1, help="Seconds to load the graphs.")] = 600,
    verbose: Annotated[bool, typer.Option(help="Pass on all of Triton's log.")] = False,
) -> None:
    """Serve concepts over gRPC with Triton, on this machine's loopback; ends on SIGTERM or Ctrl-C."""
    config = ServingConfig(
        graphs,
        registry_place(registry),
        provider=device.value,
        threads=threads,
        max_lanes=max_lanes,
        max_queue=max_queue,
        slots=slots,
        host_bytes=host_mib * MIB,
        reference_bytes=reference_mib * MIB,
        registry_seconds=registry_seconds,
        signature_key=require_signature,
    )
    secret = read_secret(admin_secret_file) if admin_secret_file else ""
    exit_on_signals()
    with (
        Server(config, Ports(grpc_port, metrics_port), start_timeout, verbose) as server,
        open_admin(config, server.store, secret, admin_port) as admin,
    ):
        also = f", admin {admin.address}" if admin else ""
        # one line, for people and for scripts that wait for it
        Console(soft_wrap=True).print(f"ready: gRPC {server.address}, metrics {HOST}:{server.ports.metrics}{also}")
        while True:
            time.sleep(0.5)
            server.require_alive()


def exit_on_signals() -> None:
    """SIGTERM and SIGINT end the command with status 0, after an orderly stop of the server; later ones do nothing."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
