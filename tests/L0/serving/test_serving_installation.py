"""Which Triton is run: PyPI's, or one that is installed, as in NVIDIA's container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.cli import _tls_files
from serving.config import ServingConfig
from serving.errors import LaunchError
from serving.installation import FOLDER, find_installation, server_environment

WHEEL = find_installation()
STUBS = WHEEL.backend_files[-1].parents[1]


def container(folder: Path, stub: Path = WHEEL.backend_files[-1]) -> Path:
    """A folder like the container's /opt/tritonserver."""
    for target, source in {
        "bin/tritonserver": WHEEL.server,
        "backends/python/libtriton_python.so": WHEEL.backend_files[0],
        "backends/python/triton_python_backend_utils.py": WHEEL.backend_files[1],
        "backends/python/triton_python_backend_stub": stub,
    }.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).symlink_to(source)
    return folder


def test_the_folder_that_is_named_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = container(tmp_path / "triton")
    monkeypatch.setenv(FOLDER, str(root))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of/the/container:/another")
    found = find_installation()
    assert found.server == root / "bin" / "tritonserver"
    assert found.caches == root / "caches"
    assert all(file.parent == root / "backends" / "python" for file in found.backend_files)
    path = server_environment(found, tmp_path / "lib")["LD_LIBRARY_PATH"].split(os.pathsep)
    assert path == [str(tmp_path / "lib"), "/of/the/container", "/another"]


def test_without_it_the_wheel_is_run_with_its_own_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of/somebody")
    [libraries] = find_installation().libraries
    assert Path(libraries).name == "nvidia_pytriton.libs"


def test_a_stub_of_another_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [other, *_] = [s for s in STUBS.glob("*/triton_python_backend_stub") if s.parent != WHEEL.backend_files[-1].parent]
    monkeypatch.setenv(FOLDER, str(container(tmp_path, other)))
    with pytest.raises(LaunchError, match="stub"):
        find_installation()


@pytest.mark.parametrize("absent", ["bin/tritonserver", "backends/python/triton_python_backend_stub"])
def test_what_is_absent_is_named(absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (container(tmp_path) / absent).unlink()
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(LaunchError, match=f"{Path(absent).name}.*{FOLDER}"):
        find_installation()


def test_links_are_not_resolved(tmp_path: Path) -> None:
    """A mounted secret is renewed by moving a link: what it led to yesterday is gone."""
    (tmp_path / "yesterday").write_text("-")
    link = tmp_path / "link"
    link.symlink_to("yesterday")
    files = _tls_files(link, link, link)
    assert files is not None
    assert {files.certificate, files.key, files.client_ca} == {str(link)}
    config = ServingConfig(tmp_path, tmp_path, signature_key=link)
    assert config.launched(tmp_path, "").signature_key == link


@pytest.mark.parametrize(("set_to", "arenas"), [(None, "2"), ("8", "8")])
def test_heaps_are_bounded_unless_the_operator_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_to: str | None, arenas: str
) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if set_to is not None:
        monkeypatch.setenv("MALLOC_ARENA_MAX", set_to)
    assert server_environment(WHEEL, tmp_path / "lib")["MALLOC_ARENA_MAX"] == arenas
