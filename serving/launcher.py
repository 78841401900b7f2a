"""Starts the bundled Triton server on the ensemble, waits until it can serve, and stops it without leftovers."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

from serving.command import EXIT_TIMEOUT_SECONDS, HOST, Ports, server_command
from serving.config import ServingConfig
from serving.errors import LaunchError
from serving.health import models_ready
from serving.installation import find_installation, make_backend_folder, server_environment
from serving.leftovers import clear_own, clear_stale, make_run_folder, region_prefix
from serving.preflight import check_folders
from serving.triton_log import TritonLog

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Server:
    """A running Triton server; use it as a context manager, or call `stop`.

    Start it from the main thread: the server is asked to stop when the thread that started it ends.

    Args:
        config: folders and bounds; `store` and `secret` are set by the launcher.
        ports: to listen on.
        start_timeout_seconds: for loading the graphs.
        verbose: pass on all of Triton's log.

    Raises:
        LaunchError: the server cannot be started; names the reason.
        GraphSetError: the graph set is absent or malformed.
    """

    def __init__(
        self, config: ServingConfig, ports: Ports, start_timeout_seconds: float = 600.0, verbose: bool = False
    ) -> None:
        models = check_folders(config)
        clear_stale()
        self.ports = ports.chosen()
        self._process: subprocess.Popen[str] | None = None
        self._run_folder = make_run_folder()
        try:
            self._process = self._spawn(self._run_folder, config, verbose)
            assert self._process.stdout is not None
            self._log = TritonLog(self._process.stdout, verbose)
            self._await_ready(models, start_timeout_seconds)
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """host:port for gRPC clients."""
        return f"{HOST}:{self.ports.grpc}"

    @property
    def store(self) -> Path:
        """Folder of the verified concepts, through which the stages tell what they hold."""
        return self._run_folder / "concepts"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def require_alive(self) -> None:
        """Raise LaunchError if the server ended by itself."""
        status = self._process.poll() if self._process else -1
        if status is not None:
            raise LaunchError("tritonserver", f"ended with status {status}: {self._log.reason()}")

    def stop(self) -> None:
        """Stop gracefully, by force if that takes too long; removes shared memory and folders. May be called twice."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(EXIT_TIMEOUT_SECONDS + 5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            # a stub that outlived its server would hold shared memory
            _kill_group(self._process.pid)
            self._log.close()
        clear_own(self._run_folder, os.getpid())

    def _spawn(self, folder: Path, config: ServingConfig, verbose: bool) -> subprocess.Popen[str]:
        installation = find_installation()
        launched = config.launched(self.store, secrets.token_hex(32))
        backends = make_backend_folder(installation, folder / "backends")
        prefix = region_prefix(os.getpid())
        return subprocess.Popen(
            server_command(installation, launched.graphs / "models", backends, self.ports, prefix, verbose),
            env=server_environment(installation, folder / "lib") | launched.to_env(),
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

    def _await_ready(self, models: list[str], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not models_ready(self.address, models):
            self.require_alive()
            if time.monotonic() > deadline:
                raise LaunchError("tritonserver", f"not ready after {timeout_seconds:.0f} s: {self._log.reason()}")
            time.sleep(0.1)


def _die_with_parent() -> None:
    """In the child, before it becomes tritonserver: if the launcher is killed, the server is asked to stop."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
