"""`vico serve` as a process of its own, with probes in its stages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.prepared import ROOT, probed_graphs
from benchmarks.serving.probe_log import ProbeLog
from benchmarks.serving.results import BenchmarkError

_VICO = "from vico.cli import main; main()"
_STOP_SECONDS = 120.0
_SHOWN = 4000
"""Characters of a log."""


@dataclass(frozen=True)
class Running:
    """A server that serves."""

    address: str
    log: ProbeLog
    pid: int
    """Of `vico serve`; all its processes descend from it."""
    process: subprocess.Popen[str]

    def require_alive(self) -> None:
        """Raise BenchmarkError if it ended: what was measured last means nothing."""
        if self.process.poll() is not None:
            raise BenchmarkError("server", "it ended while it was measured", "a look at its log")


@contextmanager
def running(graphs: Path, registry: Path, *options: str) -> Iterator[Running]:
    """The server over these graphs, with further options of `vico serve`. The end of its log is shown if all fails.

    Raises:
        BenchmarkError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="vico-benchmark-") as folder:
        made, probes = probed_graphs(graphs, Path(folder))
        log = Path(folder) / "log"
        process = _start(made, registry, options, log)
        try:
            assert process.stdout is not None
            ready = re.match(r"ready: gRPC (\S+),", process.stdout.readline())
            if ready is None:
                raise BenchmarkError("server", "it did not start", "a look at its log")
            yield Running(ready[1], ProbeLog(probes), process.pid, process)
        except BenchmarkError:
            sys.stderr.write(log.read_text(errors="replace")[-_SHOWN:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(graphs: Path, registry: Path, options: tuple[str, ...], log: Path) -> subprocess.Popen[str]:
    ports = ("--grpc-port", "0", "--metrics-port", "0")
    command = [sys.executable, "-c", _VICO, "serve", "--graphs", str(graphs), "--registry", str(registry)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with log.open("w") as errors:
        return subprocess.Popen(
            [*command, *ports, *options], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
