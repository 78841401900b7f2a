"""Starts the bundled Triton server on the ensemble, waits until it can serve, and stops it without leftovers."""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import shutil
import signal
import subprocess
import time

from serving.command import EXIT_TIMEOUT_SECONDS, free_port, server_command
from serving.config import ServingConfig
from serving.errors import LaunchError
from serving.frozen import freeze
from serving.health import models_ready
from serving.installation import find_installation, make_backend_folder, server_environment
from serving.leftovers import RunPlace, clear_stale
from serving.preflight import check_folders
from serving.private import Private
from serving.reload import reload_stage
from serving.telemetry.folder import environment
from serving.triton_log import TritonLog

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_STARTS = 3
"""Tries, where it is ended by a signal."""

logger = logging.getLogger("vico.serving")


class _CrashedError(LaunchError):
    """A signal ended it: unlike a graph that cannot be loaded, not a reason to give up."""


class Server:
    """A Triton server that can be started, killed and started again; use it as a context manager.

    Start it from the main thread: the server is asked to stop when the thread that started it ends.

    Args:
        config: folders and bounds; `store` and `secret` are set by the launcher.
        metrics_port: of Triton's own metrics, on the loopback; 0 = any free one.
        verbose: pass on all of Triton's log.

    Raises:
        LaunchError: what it needs is not there.
        GraphSetError: the graph set is absent or malformed.
    """

    def __init__(self, config: ServingConfig, metrics_port: int = 0, verbose: bool = False) -> None:
        self._models = check_folders(config)
        installation = find_installation()
        clear_stale()
        self._process: subprocess.Popen[str] | None = None
        self._place = RunPlace.make()
        self._folder = self._place.folder
        try:
            self.private = Private.in_folder(self._folder)
            self.metrics_port = metrics_port or free_port()
            launched = config.launched(self._folder / "concepts", secrets.token_hex(32))
            self.config = freeze(launched, self._folder / "graphs")
            self.metrics_folder = self._folder / "metrics"
            self._environment = {
                **server_environment(installation, self._folder / "lib"),
                **self.config.to_env(),
                **environment(self.metrics_folder),
            }
            backends = make_backend_folder(installation, self._folder / "backends")
            models = self.config.graphs / "models"
            self._command = server_command(
                installation, models, backends, self.private, self.metrics_port, self._place.prefix, verbose
            )
        except BaseException:
            self.close()
            raise
        self._verbose = verbose

    @property
    def pid(self) -> int:
        """Of tritonserver; 0 = none was started."""
        return self._process.pid if self._process else 0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, timeout_seconds: float) -> None:
        """Start and wait until every model is ready. One that a signal ends as it starts is started again.

        Raises:
            LaunchError: it ended, or was not ready in time; names the reason.
        """
        for left in reversed(range(_STARTS)):
            self._spawn()
            try:
                self._await_ready(timeout_seconds)
            except _CrashedError as error:
                # gRPC inside Triton has been seen to abort over a closed descriptor before anything was loaded
                if not left:
                    raise
                logger.warning("%s; it is started again", error)
                self.kill()
            else:
                return

    def _spawn(self) -> None:
        # half-written copies of packages, of a server that was killed
        shutil.rmtree(self.config.store, ignore_errors=True)
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # a process group of its own: Ctrl-C reaches us alone, and the stubs can be killed together
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        assert self._process.stdout is not None
        self._log = TritonLog(self._process.stdout, self._verbose, self.config.telemetry.log_format)

    def _await_ready(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not self.ready():
            self.require_alive()
            if time.monotonic() > deadline:
                raise LaunchError("tritonserver", f"not ready after {timeout_seconds:.0f} s: {self._log.reason()}")
            time.sleep(0.1)

    def ready(self) -> bool:
        """Whether every model is, by Triton's word: it does not notice a dead stage."""
        return models_ready(self.private.address, self._models, metadata=self.private.metadata)

    def require_alive(self) -> None:
        """Raise LaunchError if the server ended by itself."""
        status = self._process.poll() if self._process else -1
        if status is not None:
            kind = _CrashedError if status < 0 else LaunchError
            raise kind("tritonserver", f"ended with status {status}: {self._log.reason()}")

    def reload(self, stage: str) -> bool:
        """Start the process of a stage anew beside the others; whether it worked. Its old process must be dead."""
        return reload_stage(self.private, stage, self.pid) and self.ready()

    def kill(self) -> None:
        """End it and its stages at once, and remove their shared memory."""
        if self._process is not None:
            self._process.kill()
            self._end()
        self._place.clear_regions()

    def close(self, graceful: bool = True) -> None:
        """Stop, by force if that takes too long; removes shared memory and folders. May be called twice."""
        if self._process is not None and graceful:
            self._process.terminate()
            try:
                self._process.wait(EXIT_TIMEOUT_SECONDS + 5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._process is not None:
            self.kill()
        self._place.close()

    def _end(self) -> None:
        assert self._process is not None
        self._process.wait()
        # a stub that outlived its server would hold shared memory
        _kill_group(self._process.pid)
        self._log.close()
        self._process = None


def _die_with_parent() -> None:
    """In the child, before it becomes tritonserver: if the launcher is killed, the server is asked to stop."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
