"""The page that Prometheus reads: numbers of several processes, dead ones among them, and Triton's own."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import LaunchError
from serving.telemetry.endpoint import MAX_SCRAPES, MetricsEndpoint
from serving.telemetry.folder import FOLDER, environment, reserve
from serving.telemetry.instruments import Instruments

ROOT = Path(__file__).parents[3]
_STAGE = """
import sys
from serving.telemetry import catalogue as of
from serving.telemetry.folder import reserve
from serving.telemetry.instruments import Instruments
from serving.telemetry.loop import LoopMetrics
make = Instruments(fixed={"stage": "unet_loop"})
metrics = LoopMetrics(make)
lanes = make.gauge(of.LANES)[""]
reserve()
metrics.queued(0.25)
metrics.stepped(0.5, 2, 4)
lanes.set(float(sys.argv[1]))
print("counted", flush=True)
sys.stdin.read()
"""


@contextmanager
def stage(folder: Path, lanes: int) -> Iterator[None]:
    """A process that counts as the loop's does; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _STAGE, str(lanes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment(folder),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def triton() -> Iterator[int]:
    """Triton's own metrics; yields their port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"# TYPE nv_cpu_utilization gauge\nnv_cpu_utilization 0.5\n")

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scrape(endpoint: MetricsEndpoint) -> dict[str, float]:
    """Values of the series without labels."""
    with urllib.request.urlopen(f"http://{endpoint.address}/metrics", timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        page = answer.read().decode()
    families = list(text_string_to_metric_families(page))
    assert len({family.name for family in families}) == len(families), "each once"
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def test_counters_outlive_their_process_and_gauges_do_not(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    with triton() as port, MetricsEndpoint("127.0.0.1", 0, folder, Instruments(), port) as endpoint:
        assert "vico_queue_seconds_count" not in scrape(endpoint)
        with stage(folder, 3):
            found = scrape(endpoint)
            assert (found["vico_queue_seconds_count"], found["vico_queue_seconds_sum"]) == (1, 0.25)
            assert found["vico_lanes"] == 3
        found = scrape(endpoint)
        assert found["vico_queue_seconds_count"] == 1
        assert "vico_lanes" not in found
        with stage(folder, 5):
            found = scrape(endpoint)
            assert found["vico_queue_seconds_count"] == 2
            assert found["vico_row_steps_total"] == 8
            assert found["vico_lanes"] == 5
        assert found["vico_triton_up"] == 1
        assert found["nv_cpu_utilization"] == 0.5


def test_what_the_dead_leave_does_not_pile_up(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    with MetricsEndpoint("127.0.0.1", 0, folder, Instruments(), free_port()) as endpoint:
        for _ in range(3):
            with stage(folder, 1):
                pass
        for _ in range(2):
            found = scrape(endpoint)
            assert (found["vico_queue_seconds_count"], found["vico_queue_seconds_sum"]) == (3, 0.75)
            assert found["vico_lane_steps_total"] == 6
            assert sorted(file.name for file in folder.iterdir()) == ["counter_0.db", "histogram_0.db"]


def test_scrapes_at_once_count_everything_once(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    with stage(folder, 1):
        pass
    with (
        MetricsEndpoint("127.0.0.1", 0, folder, Instruments(), free_port()) as endpoint,
        ThreadPoolExecutor(MAX_SCRAPES) as pool,
    ):
        found = [pool.submit(scrape, endpoint) for _ in range(MAX_SCRAPES)]
        assert {one.result(60)["vico_queue_seconds_count"] for one in found} == {1.0}


def test_without_triton_ours_are_there_all_the_same(tmp_path: Path) -> None:
    with MetricsEndpoint("127.0.0.1", 0, tmp_path, Instruments(), free_port()) as endpoint:
        assert scrape(endpoint) == {"vico_triton_up": 0.0}


def test_nothing_else_is_there(tmp_path: Path) -> None:
    with MetricsEndpoint("127.0.0.1", 0, tmp_path, Instruments(), free_port()) as endpoint:
        for path, status in (("/", 404), ("/metrics/../x", 404)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://{endpoint.address}{path}", timeout=60)
            assert refused.value.code == status
            assert "ython" not in str(refused.value.headers)
        connection = http.client.HTTPConnection(endpoint.address, timeout=60)
        connection.request("POST", "/metrics", body=b"x")
        assert connection.getresponse().status == 501


def test_silent_connections_do_not_pile_up(tmp_path: Path) -> None:
    with MetricsEndpoint("127.0.0.1", 0, tmp_path, Instruments(), free_port()) as endpoint:
        host, port = endpoint.address.split(":")
        silent = [socket.create_connection((host, int(port)), timeout=60) for _ in range(MAX_SCRAPES)]
        late = socket.create_connection((host, int(port)), timeout=60)
        assert late.recv(1) == b"", "hung up on"
        for connection in [*silent, late]:
            connection.close()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"metrics_port: 127.0.0.1:{port}"):
            MetricsEndpoint("127.0.0.1", port, tmp_path, Instruments(), free_port())


def test_room_on_the_disk_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hole in a file becomes a page at its first write, which a full disk answers with SIGBUS."""
    sparse = tmp_path / f"counter_{os.getpid()}.db"
    with sparse.open("wb") as file:
        file.truncate(2**16)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    reserve()
    assert sparse.stat().st_blocks * 512 >= 2**16
    assert sparse.read_bytes() == bytes(2**16)
