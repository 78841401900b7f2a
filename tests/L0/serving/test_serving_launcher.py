from __future__ import annotations

import errno
import io
import logging
import os
import pkgutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runners import GRAPHSET

import serving
from serving import leftovers
from serving.command import free_port
from serving.config import ServingConfig
from serving.errors import GraphError, LaunchError
from serving.health import models_ready
from serving.installation import find_installation, make_backend_folder, server_environment
from serving.launcher import Server
from serving.preflight import check_folders
from serving.triton_log import TritonLog
from vico.concept import write_graphset
from vico.concept.processor import processor_key
from vico.errors import GraphSetError

MODULES = sorted(module.name for module in pkgutil.walk_packages(serving.__path__, "serving."))


def test_no_torch_in_any_serving_module() -> None:
    assert len(MODULES) > 20
    code = f"import sys, importlib; [importlib.import_module(m) for m in {MODULES}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def config(tmp_path: Path) -> ServingConfig:
    graphs, registry = tmp_path / "graphs", tmp_path / "registry"
    registry.mkdir()
    write_graphset(graphs, GRAPHSET)
    for file in (
        "tokenizer.json",
        *(spec.file for spec in GRAPHSET.targets["onnx"].values()),
        "models/vico/config.pbtxt",
    ):
        (graphs / file).parent.mkdir(parents=True, exist_ok=True)
        (graphs / file).touch()
    return ServingConfig(graphs, registry)


def test_good_folders(config: ServingConfig) -> None:
    assert check_folders(config) == ["vico"]


@pytest.mark.parametrize("file", ["tokenizer.json", "graphs/denoiser/x/1.onnx", "models/vico/config.pbtxt"])
def test_an_absent_file_is_named_before_anything_starts(config: ServingConfig, file: str) -> None:
    (config.graphs / file).unlink()
    with pytest.raises((LaunchError, GraphError), match="graphs: "):
        check_folders(config)


def test_a_set_that_was_not_exported_for_the_device_is_refused_before_anything_starts(config: ServingConfig) -> None:
    with pytest.raises(GraphError, match=r"'denoiser' is absent; accepted: .*--target onnx-fp16"):
        check_folders(replace(config, provider="cuda"))


def test_a_set_that_was_packed_elsewhere_is_told(config: ServingConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vico.serving"):
        check_folders(config)
        assert [record.message for record in caplog.records if "not packed" in record.message]
        caplog.clear()
        write_graphset(config.graphs, replace(GRAPHSET, packed={processor_key(): GRAPHSET.targets["onnx"]}))
        check_folders(config)
    assert not caplog.records


def test_absent_folders_are_named(config: ServingConfig, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="registry: no such folder"):
        check_folders(ServingConfig(config.graphs, tmp_path / "none"))
    with pytest.raises(GraphSetError):
        check_folders(ServingConfig(tmp_path / "none", config.registry))


def test_config_crosses_the_environment(config: ServingConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launched = config.launched(tmp_path / "store", "secret")
    for name, value in launched.to_env().items():
        monkeypatch.setenv(name, value)
    assert ServingConfig.from_env() == launched
    assert launched.graphs.is_absolute()


def test_free_ports_are_found() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", free_port()))


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "I1\nE1 \"failed to load 'unet_loop' version 1: Internal: TritonModelException: graphs: absent\n\nAt:\n",
            "model 'unet_loop': graphs: absent",
        ),
        ("W1 x\nE1 socket '127.0.0.1:1' already in use\nI1 end\n", "E1 socket '127.0.0.1:1' already in use"),
        ("", "no reason in its log"),
    ],
)  # fmt: skip
def test_the_reason_is_found_in_the_log(log: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert TritonLog(io.StringIO(log), verbose=False).reason() == reason
    assert capsys.readouterr().err == log


def test_what_every_machine_without_a_gpu_says_is_not_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose, shown in ((False, "other\n"), (True, "no CUDA here\nother\n")):
        TritonLog(io.StringIO("no CUDA here\nother\n"), verbose).close()
        assert capsys.readouterr().err == shown


def test_nobody_there_is_not_ready() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not models_ready(f"127.0.0.1:{taken.getsockname()[1]}", ["vico"], timeout_seconds=0.5)


def test_what_dead_launchers_left_is_cleared_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, alive = gone.pid, os.getpid()
    stale = [tmp_path / f"vico_{dead}_uuid", tmp_path / f"vico-serve-{dead}-x"]
    kept = [tmp_path / f"vico_{alive}_uuid", tmp_path / "vico_other", tmp_path / "triton_python_backend_shm_region_1"]
    for path in (stale[0], *kept):
        path.touch()
    (stale[1] / "store").mkdir(parents=True)
    assert leftovers.clear_stale() == 2
    assert sorted(tmp_path.iterdir()) == sorted(kept)


_LAUNCHER = """
import sys, tempfile
from pathlib import Path
from serving import leftovers
leftovers.SHARED_MEMORY = Path(sys.argv[1])
tempfile.tempdir = sys.argv[1]
leftovers.os.getpid = lambda: int(sys.argv[2])
place = leftovers.RunPlace.make()
(leftovers.SHARED_MEMORY / f"{place.prefix}region").touch()
print(place.folder.name, flush=True)
sys.stdin.read()
"""


def test_launchers_of_one_process_id_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers that share a folder: every launcher is process 1 there, and each finds that it lives itself."""
    monkeypatch.setattr(leftovers, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command = [sys.executable, "-c", _LAUNCHER, str(tmp_path), str(os.getpid())]
    pipe = subprocess.PIPE
    dead, living = (subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2))
    assert dead.stdout
    assert living.stdout
    names = [process.stdout.readline().strip() for process in (dead, living) if process.stdout]
    own = leftovers.RunPlace.make()
    assert leftovers.clear_stale() == 0
    dead.kill()
    dead.wait()
    assert leftovers.clear_stale() == 3, "folder, region and lock of the dead one"
    assert {path.name for path in tmp_path.glob("vico-serve-*")} == {names[1], own.folder.name}
    own.clear_regions()
    assert len(list(tmp_path.glob("vico_*"))) == 1, "the region of the living one"
    assert len(list(tmp_path.glob(".vico_*"))) == 2, "its lock, and ours"
    own.close()
    own.close()
    assert [path.name for path in tmp_path.glob("vico-serve-*")] == [names[1]]
    living.kill()
    living.wait()
    assert leftovers.clear_stale() == 3
    assert not list(tmp_path.iterdir())


def test_the_backend_folder_and_environment(tmp_path: Path) -> None:
    pytest.importorskip("pytriton", reason="the Triton server is not installed: pip install 'vico[serve]'")
    installation = find_installation()
    backends = make_backend_folder(installation, tmp_path / "backends")
    assert (backends / "python" / "triton_python_backend_stub").resolve().is_file()
    environment = server_environment(installation, tmp_path / "lib")
    folder, wheel = environment["LD_LIBRARY_PATH"].split(":")
    assert [path.name for path in Path(folder).iterdir()] == [installation.libpython.name]
    assert Path(wheel).is_dir()
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))


@pytest.mark.parametrize(("found", "field"), [("2.0.1", "numpy"), ("1.26.4", "tritonserver")])
def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch, found: str, field: str) -> None:
    monkeypatch.setattr("serving.installation.version", lambda _: found)
    monkeypatch.setattr("serving.installation.find_spec", lambda _: None)
    with pytest.raises(LaunchError, match=f"^{field}: "):
        find_installation()


class Full:
    """Standard error on a disk without room, or whose reader has gone."""

    def write(self, line: str) -> None:
        raise OSError(errno.ENOSPC, "no space")

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_does_not_stop_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nobody would read the server's pipe, and every stage would stand still at its next line."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", Full())
        log = TritonLog(io.StringIO("one\n" * 1000 + "error: the last\n"), verbose=True)
        assert log.reason() == "error: the last"
    assert not log._thread.is_alive()


@pytest.mark.parametrize(("crashes", "tries"), [(0, 1), (2, 3), (3, 3)])
def test_a_server_that_a_signal_ends_as_it_starts_is_started_again(
    config: ServingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crashes: int, tries: int
) -> None:
    started, up = tmp_path / "started", tmp_path / "up"
    script = f"echo x >> {started}; [ $(wc -l < {started}) -gt {crashes} ] || kill -ABRT $$; touch {up}; exec sleep 60"
    with Server(config) as server:
        monkeypatch.setattr(server, "_command", ["sh", "-c", script])
        monkeypatch.setattr(server, "ready", up.exists)
        if crashes < tries:
            server.start(60)
            assert server.pid
        else:
            with pytest.raises(LaunchError, match="status -6"):
                server.start(60)
    assert len(started.read_text().splitlines()) == tries


def test_a_server_that_ends_by_itself_is_not_started_again(
    config: ServingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    with Server(config) as server:
        monkeypatch.setattr(server, "_command", ["sh", "-c", f"echo x >> {started}; exit 1"])
        with pytest.raises(LaunchError, match="status 1"):
            server.start(60)
    assert started.read_text() == "x\n"
