"""What the supervisor tells the front door: one line of JSON on its standard input, where no other process can read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from serving.private import Private
from serving.telemetry.config import TelemetryConfig

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds that hold before anything is allocated for a call."""

    message_bytes: int = 9 * MIB
    """Of one message from a client: a photo and the texts."""
    connections: int = 1024
    streams_per_connection: int = 128
    """Calls at once on one connection."""
    calls: int = 512
    """Calls at once, of all clients."""
    calls_per_client: int = 128
    """Calls at once of one client, its open streams among them."""
    probes: int = 256
    """Questions after the health at once, beside the calls: nobody needs a key for them."""
    probes_per_host: int = 32
    message_seconds: float = 60.0
    """For the message of a unary call, once its headers are there."""
    metadata_bytes: int = 16 * 2**10
    """Headers of one call."""
    idle_seconds: float = 900.0
    """A connection without calls is closed."""
    connection_seconds: float = 1800.0
    """After about so long a client is asked to connect anew, and may find another server; calls go on. 0 = never."""
    keepalive_seconds: float = 20.0
    """A silent peer is asked whether it is there; without an answer for half as long it is gone."""


@dataclass(frozen=True)
class TLSFiles:
    """Paths of PEM files; read again when they change."""

    certificate: str
    """The server's, with its chain."""
    key: str
    client_ca: str | None = None
    """If given, only clients with a certificate of this authority get in (mutual TLS)."""


@dataclass(frozen=True)
class FrontConfig:
    """One front door."""

    private: Private
    """Where Triton is."""
    seal_secret: str
    host: str = "127.0.0.1"
    port: int = 0
    tls: TLSFiles | None = None
    keys: str | None = None
    """The file of hashed API keys; None = no key is asked for."""
    limits: Limits = field(default_factory=Limits)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    foresight: str = ""
    """The socket where the loop is asked what can be done in time; "" = it is not asked."""
    metrics_folder: str = ""
    """Where it counts for Prometheus; "" = in its own memory alone."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> FrontConfig:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        fields["private"] = Private(**fields["private"])
        fields["limits"] = Limits(**fields["limits"])
        fields["telemetry"] = TelemetryConfig(**fields["telemetry"])
        fields["tls"] = TLSFiles(**fields["tls"]) if fields["tls"] else None
        return FrontConfig(**fields)

    @property
    def keys_file(self) -> Path | None:
        """Of API keys."""
        return Path(self.keys) if self.keys else None
