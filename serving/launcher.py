"""Starts the bundled Triton server on the ensemble, waits until it can serve, and stops it without leftovers."""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from serving.config import ServingConfig
from serving.errors import LaunchError
from serving.health import models_ready
from serving.installation import Installation, find_installation, make_backend_folder, server_environment
from serving.leftovers import clear_own, clear_stale, make_run_folder, region_prefix
from vico.concept import read_graphset

HOST = "127.0.0.1"
"""Loopback only: the bundled server is older than several security fixes (docs/architecture.md names the container)."""

EXIT_TIMEOUT_SECONDS = 15
_LOG_LINES = 400
_PR_SET_PDEATHSIG = 1
_RESTRICTED = "model-repository,trace,logging,shared-memory"
# said by every server without a GPU
_HARMLESS = ("CUDA", "CudaDriver", "NVML", "DCGM", "pinned system memory")
_FAILED_MODEL = re.compile(r"failed to load '(\w+)' version \d+: (?:\w+: )?(?:TritonModelException: )?([^\n]*)")


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


class Server:
    """A running Triton server; use it as a context manager, or call `stop`.

    Args:
        config: folders and bounds; `store` and `secret` are set by the launcher.
        ports: to listen on.
        start_timeout_seconds: for loading the graphs.
        verbose: pass on Triton's informational log lines too.

    Raises:
        LaunchError: the server cannot be started; names the reason.
        GraphSetError: the graph set is absent or malformed.
    """

    def __init__(
        self, config: ServingConfig, ports: Ports, start_timeout_seconds: float = 600.0, verbose: bool = False
    ) -> None:
        self._models = check_folders(config)
        self._verbose = verbose
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        clear_stale()
        self._run_folder = make_run_folder()
        self.ports = ports.chosen()
        try:
            self._process = self._spawn(find_installation(), config)
            self._reader = threading.Thread(target=self._forward, daemon=True)
            self._reader.start()
            self._await_ready(start_timeout_seconds)
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """host:port for gRPC clients."""
        return f"{HOST}:{self.ports.grpc}"

    @property
    def pid(self) -> int:
        """Process id of tritonserver; its stubs are in the process group of the same number."""
        return self._process.pid

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def require_alive(self) -> None:
        """Raise LaunchError if the server ended by itself."""
        if self._process.poll() is not None:
            raise LaunchError("tritonserver", f"ended with status {self._process.returncode}: {self._reason()}")

    def stop(self) -> None:
        """Stop gracefully, by force if that takes too long; removes shared memory and folders. May be called twice."""
        process = getattr(self, "_process", None)
        if process is not None:
            process.terminate()
            try:
                process.wait(EXIT_TIMEOUT_SECONDS + 5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # a stub that outlived its server would hold shared memory
            _kill_group(process.pid)
            self._reader.join(timeout=2)
        clear_own(self._run_folder, os.getpid())

    def _spawn(self, installation: Installation, config: ServingConfig) -> subprocess.Popen[str]:
        folder = self._run_folder
        environment = server_environment(installation, folder / "lib")
        return subprocess.Popen(
            self._command(installation, config.graphs.resolve() / "models"),
            env=environment | config.launched(folder / "concepts", secrets.token_hex(32)).to_env(),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # a process group of its own: Ctrl-C reaches us alone, and the stubs can be killed together
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def _command(self, installation: Installation, models: Path) -> list[str]:
        backends = make_backend_folder(installation, self._run_folder / "backends")
        return [
            str(installation.server),
            f"--model-repository={models}",
            "--model-control-mode=none",
            f"--backend-directory={backends}",
            f"--cache-directory={installation.caches}",
            f"--backend-config=python,shm-region-prefix-name={region_prefix(os.getpid())}",
            "--disable-auto-complete-config",
            "--exit-on-error=true",
            f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
            "--allow-http=false",
            f"--grpc-address={HOST}",
            f"--grpc-port={self.ports.grpc}",
            # nobody is told the secret: these protocols are closed
            f"--grpc-restricted-protocol={_RESTRICTED}:{secrets.token_hex(8)}={secrets.token_urlsafe(32)}",
            f"--metrics-address={HOST}",
            f"--metrics-port={self.ports.metrics}",
            f"--log-info={'true' if self._verbose else 'false'}",
        ]

    def _await_ready(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not models_ready(self.address, self._models):
            self.require_alive()
            if time.monotonic() > deadline:
                raise LaunchError("tritonserver", f"not ready after {timeout_seconds:.0f} s: {self._reason()}")
            time.sleep(0.1)

    def _forward(self) -> None:
        """Pass the server's log on, and remember its end."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if self._verbose or not any(word in line for word in _HARMLESS):
                sys.stderr.write(line)
                sys.stderr.flush()

    def _reason(self) -> str:
        """What the log says went wrong."""
        self._reader.join(timeout=2)
        log = "".join(self._lines)
        failed = _FAILED_MODEL.search(log)
        if failed:
            return f"model {failed[1]!r}: {failed[2]}"
        errors = [line.strip() for line in self._lines if line.startswith("E") or "error" in line]
        return errors[-1] if errors else "no reason in its log"


def check_folders(config: ServingConfig) -> list[str]:
    """Refuse folders that cannot be served before anything is started; returns the names of the models.

    Raises:
        GraphSetError: the graph set is absent or malformed.
        LaunchError: a graph, the tokenizer, the model repository or the registry is absent.
    """
    graphset = read_graphset(config.graphs)
    for file in ("tokenizer.json", *(spec.file for spec in graphset.graphs.values())):
        if not (config.graphs / file).is_file():
            raise LaunchError("graphs", f"the file {file} is absent", "a folder made by `vico export`")
    models = sorted(path.parent.name for path in (config.graphs / "models").glob("*/config.pbtxt"))
    if "vico" not in models:
        raise LaunchError("graphs", "no model repository in the folder", "a folder made by `vico export`")
    if not config.registry.is_dir():
        raise LaunchError("registry", "no such folder", "a folder of concept packages, which may be empty")
    return models


def _die_with_parent() -> None:
    """In the child, before it becomes tritonserver: if the launcher is killed, the server is asked to stop."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
