"""The command line of tritonserver."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from serving.installation import Installation

HOST = "127.0.0.1"
"""Loopback only: the bundled server is older than several security fixes; in production the NGC container listens."""

EXIT_TIMEOUT_SECONDS = 15

_RESTRICTED = "model-repository,trace,logging,shared-memory"


@dataclass(frozen=True)
class Ports:
    """0 = any free port."""

    grpc: int = 8001
    metrics: int = 8002

    def chosen(self) -> Ports:
        """The same with free ports in place of 0."""
        with socket.socket() as first, socket.socket() as second:
            first.bind((HOST, 0))
            second.bind((HOST, 0))
            return Ports(self.grpc or first.getsockname()[1], self.metrics or second.getsockname()[1])


def server_command(
    installation: Installation, models: Path, backends: Path, ports: Ports, region_prefix: str, verbose: bool
) -> list[str]:
    """Program and arguments.

    Args:
        models: the Triton model repository, never changed while the server runs.
        backends: folder with the Python backend.
        region_prefix: of the names of its shared memory, by which leftovers are known.
        verbose: informational log lines too.
    """
    return [
        str(installation.server),
        f"--model-repository={models}",
        "--model-control-mode=none",
        f"--backend-directory={backends}",
        f"--cache-directory={installation.caches}",
        f"--backend-config=python,shm-region-prefix-name={region_prefix}",
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
        "--allow-http=false",
        f"--grpc-address={HOST}",
        f"--grpc-port={ports.grpc}",
        # nobody is told the secret: these protocols are closed
        f"--grpc-restricted-protocol={_RESTRICTED}:{secrets.token_hex(8)}={secrets.token_urlsafe(32)}",
        f"--metrics-address={HOST}",
        f"--metrics-port={ports.metrics}",
        f"--log-info={'true' if verbose else 'false'}",
    ]
