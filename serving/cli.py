"""`vico serve`."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from serving.admin.opening import open_admin
from serving.command import HOST
from serving.config import MIB, ServingConfig, registry_place
from serving.errors import LaunchError
from serving.front.config import FrontConfig, Limits, TLSFiles
from serving.front.exposure import require_safe
from serving.launcher import Server
from serving.outputs import options as output
from serving.outputs.config import Answer, OutputsConfig
from serving.scheduling import Batching
from serving.secret_file import read_secret
from serving.supervisor import Patience, Supervisor
from serving.telemetry.config import LogFormat, TelemetryConfig, resolved_format
from serving.telemetry.endpoint import MetricsEndpoint
from serving.telemetry.instruments import Instruments
from serving.telemetry.logs import configure_logs
from serving.telemetry.supervision import SupervisorMetrics
from serving.telemetry.traces import ENDPOINT, trace_to
from vico.concept import read_graphset


class Device(StrEnum):
    """What the graphs run on; each is a key of `serving.targets.TARGETS`."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


def serve(
    graphs: Annotated[Path, typer.Option(help="Folder made by `vico export`.")],
    registry: Annotated[str, typer.Option(help="Folder of concept packages (new files count at once), or a URL.")],
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback needs --keys and TLS.")] = HOST,
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8001,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8002,
    metrics_host: Annotated[str, typer.Option(help="Where metrics answer, to everybody who can reach it.")] = HOST,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, made by `vico keys add`.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="The server's certificate with its chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Clients must show a certificate of this authority (PEM): mutual TLS.")
    ] = None,
    insecure: Annotated[bool, typer.Option(help="Listen beyond loopback without keys or TLS.")] = False,
    device: Annotated[Device, typer.Option(help="What the graphs run on.")] = Device.CPU,
    threads: Annotated[int, typer.Option(min=0, help="Threads of one graph; 0 = all cores.")] = 0,
    max_lanes: Annotated[int, typer.Option(min=1, max=64, help="Pictures in the running batch.")] = 8,
    max_rows: Annotated[
        int, typer.Option(min=0, max=128, help="Denoiser rows of a step, two for a guided picture; 0 = for all lanes.")
    ] = 0,
    max_queue: Annotated[int, typer.Option(min=8, help="Pictures that may wait; more are refused.")] = 64,
    max_client_queue: Annotated[int, typer.Option(min=8, help="The same for one client of --keys.")] = 32,
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
    safety_checker: output.SafetyChecker = "",
    safety_answer: output.SafetyAnswer = Answer.BLANK,
    safety_seconds: output.SafetySeconds = 10,
    watermark_key_file: output.WatermarkKeyFile = None,
    watermark_id: output.WatermarkId = 0,
    provenance_certificate: output.ProvenanceCertificate = None,
    provenance_key: output.ProvenanceKey = None,
    provenance_claim: output.ProvenanceClaims = None,
    connection_seconds: Annotated[
        float,
        typer.Option(min=0, help="A connection is renewed after so long, and finds new servers; 0 = never."),
    ] = 1800,
    start_timeout: Annotated[float, typer.Option(min=1, help="Seconds to load the graphs.")] = 600,
    grace: Annotated[float, typer.Option(min=0, help="Seconds for requests under way when told to stop.")] = 30,
    verbose: Annotated[bool, typer.Option(help="Pass on all of Triton's log.")] = False,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="By default text on a terminal, else json.", show_default=False)
    ] = None,
    log_prompts: Annotated[bool, typer.Option(help="Let prompts stand in the log.")] = False,
    otlp_endpoint: Annotated[
        str | None, typer.Option(envvar=ENDPOINT, help="URL of an OpenTelemetry collector (OTLP over HTTP) for traces.")
    ] = None,
    batching: Annotated[
        Batching, typer.Option(help="`request`: a batch is formed once and run to its end, for comparison.")
    ] = "in_flight",
    as_json: Annotated[bool, typer.Option("--json", help="Say where it listens as one line of JSON.")] = False,
) -> None:
    """Serve concepts over gRPC with Triton; ends on SIGTERM or Ctrl-C, when requests under way are done."""
    config = ServingConfig(
        graphs,
        registry_place(registry),
        provider=device.value,
        threads=threads,
        max_lanes=max_lanes,
        max_rows=max_rows,
        max_queue=max_queue,
        max_client_queue=max_client_queue,
        batching=batching,
        slots=slots,
        host_bytes=host_mib * MIB,
        reference_bytes=reference_mib * MIB,
        registry_seconds=registry_seconds,
        signature_key=require_signature,
        outputs=OutputsConfig(
            output.checker_config(safety_checker, safety_answer, safety_seconds),
            output.watermark_config(watermark_key_file, watermark_id),
            output.provenance_config(provenance_certificate, provenance_key, provenance_claim),
        ),
        telemetry=TelemetryConfig(resolved_format(log_format), log_prompts),
    )
    secret = read_secret(admin_secret_file) if admin_secret_file else ""
    tls = _tls_files(tls_cert, tls_key, tls_client_ca)
    require_safe(host, has_keys=keys is not None, has_tls=tls is not None, insecure=insecure)
    configure_logs(config.telemetry)
    trace_to(otlp_endpoint)
    exit_on_signals()
    place = _Place(
        host, grpc_port, metrics_host, metrics_port, admin_port, tls, str(keys.absolute()) if keys else None,
        Limits(connection_seconds=connection_seconds),
    )  # fmt: skip
    patience = Patience(start_seconds=start_timeout, grace_seconds=grace)
    _run(config, place, patience, secret, verbose=verbose, as_json=as_json)


@dataclass(frozen=True)
class _Place:
    """Where a server answers, and whom."""

    host: str
    grpc_port: int
    metrics_host: str
    metrics_port: int
    admin_port: int
    tls: TLSFiles | None
    keys: str | None
    limits: Limits

    def front(self, config: ServingConfig, server: Server) -> FrontConfig:
        """Of the front door before `server`."""
        return FrontConfig(
            server.private,
            server.config.secret,
            self.host,
            self.grpc_port,
            self.tls,
            self.keys,
            self.limits,
            telemetry=config.telemetry,
            foresight=str(server.config.foresight_socket),
            metrics_folder=str(server.metrics_folder),
        )


def _run(
    config: ServingConfig, place: _Place, patience: Patience, admin_secret: str, *, verbose: bool, as_json: bool
) -> None:
    """Start everything, say where it answers, and mend it until told to end."""
    make = Instruments()
    with (
        Server(config, verbose=verbose) as server,
        MetricsEndpoint(
            place.metrics_host, place.metrics_port, server.metrics_folder, make, server.metrics_port
        ) as metrics,
    ):
        front, side = place.front(config, server), read_graphset(server.config.graphs).size_multiple
        with (
            Supervisor(server, front, side, patience, SupervisorMetrics(make)) as supervisor,
            open_admin(config, server.config.store, admin_secret, place.admin_port) as admin,
        ):
            _tell(supervisor.front.address, metrics.address, admin.address if admin else None, as_json=as_json)
            supervisor.run()


def _tell(grpc: str, metrics: str, admin: str | None, *, as_json: bool) -> None:
    """One line, for people and for scripts that wait for it."""
    if as_json:
        typer.echo(json.dumps({"ready": {"grpc": grpc, "metrics": metrics, "admin": admin}}))
        return
    also = f", admin {admin}" if admin else ""
    Console(soft_wrap=True).print(f"ready: gRPC {grpc}, metrics {metrics}{also}")


def _tls_files(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TLSFiles | None:
    """Their links are not resolved: Kubernetes renews a secret by moving one."""
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise LaunchError("tls_cert", "not given together with tls_key", "both, and tls_client_ca for mutual TLS")
    paths = [str(path.absolute()) for path in (certificate, key)]
    return TLSFiles(paths[0], paths[1], str(client_ca.absolute()) if client_ca else None)


def exit_on_signals() -> None:
    """SIGTERM and SIGINT end the command with status 0, after an orderly stop of the server; later ones do nothing."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
