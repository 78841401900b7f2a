"""What runs, what is left behind, and what is said when the server cannot start."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from served import Caller, Served, all_processes, spawn, start_server, wait_until

from serving.config import ServingConfig
from serving.targets import graph_file

if TYPE_CHECKING:
    from conftest import Exported


def test_no_torch_in_any_serving_process(server: Served, call: Caller) -> None:
    call(prompt="a * toy", concept="toy", steps=1)
    processes = server.processes()
    assert len(processes) == 6, "tritonserver and five stubs"
    for pid in (*processes, server.pid):
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "torch" not in maps.lower()
    assert sum("onnxruntime" in Path(f"/proc/{pid}/maps").read_text() for pid in processes) == 4


def test_only_loopback_is_listened_to(server: Served) -> None:
    host, port = server.address.split(":")
    assert host == "127.0.0.1"
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    listening = [line.split()[1] for table in tables for line in table.splitlines() if " 0A " in line]
    [address] = [address for address in listening if address.endswith(f":{int(port):04X}")]
    # 127.0.0.1, or the same mapped into IPv6
    assert address.removeprefix("0000000000000000FFFF0000").startswith("0100007F:")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(exported: Exported, tmp_path: Path, number: int) -> None:
    served = _start(exported, tmp_path)
    pids = served.processes()
    assert served.regions()
    with urlopen(f"http://{_metrics(served)}/metrics") as answer:
        assert b"nv_inference" in answer.read()
    Caller(served.address)(prompt="a", steps=1)
    assert served.stop(number) == 0
    assert not pids.keys() & all_processes().keys()
    assert not served.regions()
    assert not served.folders()


def test_a_killed_launcher_takes_the_server_with_it(exported: Exported, tmp_path: Path) -> None:
    served = _start(exported, tmp_path)
    pids = served.processes()
    served.stop(signal.SIGKILL)
    assert wait_until(lambda: not pids.keys() & all_processes().keys(), 30)
    again = _start(exported, tmp_path)
    assert not served.regions(), "the next start clears what is left"
    assert not served.folders()
    assert again.stop() == 0


def test_a_graph_that_cannot_be_loaded_is_named(exported: Exported, tmp_path: Path) -> None:
    graphs = tmp_path / "graphs"
    shutil.copytree(exported.folder, graphs)
    registry = tmp_path / "registry"
    registry.mkdir()
    config = ServingConfig(graphs=graphs, registry=registry)
    # the file that is opened, in whichever form it fits this processor
    graph_file(config, exported.graphset, "vae_decoder").write_bytes(b"not a graph")
    process = spawn(graphs, registry, tmp_path / "log")
    assert process.wait(240) == 1
    assert "error tritonserver: " in (tmp_path / "log").read_text()
    assert "'vae_decoder'" in (tmp_path / "log").read_text()


def test_a_taken_port_is_said(exported: Exported, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "registry").mkdir()
        process = spawn(exported.folder, tmp_path / "registry", tmp_path / "log", "--grpc-port", str(port))
        assert process.wait(240) == 1
        assert f"127.0.0.1:{port}" in (tmp_path / "log").read_text().splitlines()[-1]


def _start(exported: Exported, path: Path) -> Served:
    registry = path / "registry"
    registry.mkdir(exist_ok=True)
    return start_server(exported.folder, registry, path / "log")


def _metrics(served: Served) -> str:
    """Address of the metrics endpoint, from the server's command line."""
    [line] = [line for line in served.processes().values() if "--metrics-port=" in line]
    return "127.0.0.1:" + line.split("--metrics-port=")[1].split()[0]
