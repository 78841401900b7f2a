"""What the launcher tells the stages: one environment variable, read once in every serving process."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from serving.errors import LaunchError
from serving.outputs.config import OutputsConfig
from serving.scheduling import Batching
from serving.telemetry.config import TelemetryConfig

VARIABLE = "VICO_SERVING"
MIB = 2**20


@dataclass(frozen=True)
class ServingConfig:
    """Folders, device and bounds of one server."""

    graphs: Path
    """The graph set."""
    registry: Path | str
    """The folder of concept packages, `<id>.safetensors`, or the URL of one."""
    store: Path = Path()
    """Verified copies of packages by digest, private to this server; set by the launcher."""
    secret: str = ""
    """Seals what one stage hands to the next; set by the launcher, new at every start."""
    provider: str = "cpu"
    """"cpu", "cuda" or "tensorrt"."""
    threads: int = 0
    """Threads of one graph; 0 = all cores."""
    max_lanes: int = 8
    """Pictures in the running batch."""
    max_queue: int = 64
    """Pictures that may wait beyond those in the running batch."""
    max_client_queue: int = 32
    """The same for one client that has a name."""
    max_rows: int = 0
    """Denoiser rows of one step: a picture with guidance has two; 0 = two for each of `max_lanes`."""
    batching: Batching = "in_flight"
    """`request`: a batch is formed once and run to its end, for comparison."""
    slots: int = 8
    """Concepts resident on the device."""
    host_bytes: int = 2048 * MIB
    """Concept packages in host memory, per process."""
    store_bytes: int = 8192 * MIB
    """Verified copies on disk."""
    reference_bytes: int = 2048 * MIB
    """Reference features in host memory."""
    context_bytes: int = 64 * MIB
    """Text contexts in host memory."""
    registry_seconds: float = 5.0
    """Between two looks at a registry that is no folder, and at the operator's wishes."""
    signature_key: Path | None = None
    """Public key that every package must be signed with; None = unsigned ones are taken."""
    lookahead: int = 8
    """Timesteps of reference features computed in one batch ahead of the loop."""
    outputs: OutputsConfig = field(default_factory=OutputsConfig)
    """What is done with every picture before a client gets it."""
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    """What of all this is told, and how."""

    @property
    def progress_socket(self) -> Path:
        """Where the streams hear from the loop: in the server's private folder."""
        return self.store.parent / "progress"

    @property
    def foresight_socket(self) -> Path:
        """Where the loop tells the front door what cannot be done in time: in the same folder."""
        return self.store.parent / "foresight"

    def to_env(self) -> dict[str, str]:
        """The environment variable that carries this config to the stages."""
        return {VARIABLE: json.dumps(asdict(self), default=str)}

    @staticmethod
    def from_env() -> ServingConfig:
        """The config of this serving process.

        Raises:
            LaunchError: the process was not started by the launcher.
        """
        text = os.environ.get(VARIABLE)
        if text is None:
            raise LaunchError(VARIABLE, "is not set", "a server started by `vico serve`")
        fields: dict[str, Any] = json.loads(text)
        for name in ("graphs", "store"):
            fields[name] = Path(fields[name])
        fields["registry"] = registry_place(fields["registry"])
        fields["signature_key"] = fields["signature_key"] and Path(fields["signature_key"])
        fields["outputs"] = OutputsConfig.from_dict(fields["outputs"])
        fields["telemetry"] = TelemetryConfig(**fields["telemetry"])
        return ServingConfig(**fields)

    def launched(self, store: Path, secret: str) -> ServingConfig:
        """The same for one start of the server; folders absolute, as Triton runs the stages in folders of their own."""
        registry = self.registry.resolve() if isinstance(self.registry, Path) else self.registry
        return replace(
            self,
            graphs=self.graphs.resolve(),
            registry=registry,
            store=store.resolve(),
            signature_key=self.signature_key and self.signature_key.absolute(),
            outputs=self.outputs.absolute(),
            secret=secret,
        )


def registry_place(text: str) -> Path | str:
    """A folder, or a URL as it is: a path would lose one of its slashes."""
    return text if "://" in text else Path(text)
