"""The command line of tritonserver."""

from __future__ import annotations

import socket
from pathlib import Path

from serving.installation import Installation
from serving.private import Private
from serving.streaming.bounds import MAX_STREAMS

HOST = "127.0.0.1"
"""By default of metrics and front door: loopback."""

SHARED_BYTES = 32 * 2**20
"""Shared memory of each stage to begin with; only what is used takes room."""
EXIT_TIMEOUT_SECONDS = 15


def free_port() -> int:
    """A port of the loopback that nobody listens to."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def server_command(
    installation: Installation,
    models: Path,
    backends: Path,
    private: Private,
    metrics_port: int,
    region_prefix: str,
    verbose: bool,
) -> list[str]:
    """Program and arguments.

    Args:
        models: the Triton model repository, never changed while the server runs.
        backends: folder with the Python backend.
        private: the way to it, for the front door and the supervisor only.
        metrics_port: where its own metrics answer, to this machine: `serving.telemetry.endpoint` passes them on.
        region_prefix: of the names of its shared memory, by which leftovers are known.
        verbose: informational log lines too.
    """
    return [
        str(installation.server),
        f"--model-repository={models}",
        # only who knows the secret can load and unload: the supervisor does, when a stage's process died
        "--model-control-mode=explicit",
        "--load-model=*",
        f"--backend-directory={backends}",
        f"--cache-directory={installation.caches}",
        f"--backend-config=python,shm-region-prefix-name={region_prefix}",
        # two processes allocate in it, and Triton's stub has been seen to crash there: it had better not grow in use
        f"--backend-config=python,shm-default-byte-size={SHARED_BYTES}",
        # a call of one model by another holds a thread for as long as it waits
        f"--backend-config=python,thread-pool-size={MAX_STREAMS}",
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
        "--allow-http=false",
        *private.options,
        f"--metrics-address={HOST}",
        f"--metrics-port={metrics_port}",
        f"--log-info={'true' if verbose else 'false'}",
    ]
