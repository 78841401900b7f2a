"""A registry without room: the operator is told so, nothing half is left, and what was served is served."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from concept_room import View, folder_view

from serving.admin.client import Commander, Direct, Remote
from serving.admin.service import AdminService
from serving.errors import Overloaded
from tests.helpers.concepts import make_concept
from vico.concept import read_package

SECRET = "a-secret-of-some-length"
NO_ROOM = r"^registry: no room .*; accepted: the same command when "


@pytest.fixture
def view(tmp_path: Path) -> View:
    """Where `prod` stands for the first version, and the second is in the file."""
    view = folder_view(tmp_path)
    make_concept(tmp_path / "registry", "bear", seed=1)
    view.admin.alias("prod", "bear")
    make_concept(tmp_path / "registry", "bear", seed=2)
    return view


@pytest.fixture(params=["registry", "service"])
def command(request: pytest.FixtureRequest, view: View) -> Iterator[Commander]:
    """`vico concepts` with `--registry`, and with `--server`."""
    if request.param == "registry":
        yield Direct(view.admin)
    else:
        with AdminService(view.admin, SECRET) as service:
            yield Remote(service.address, SECRET)


def _files(view: View) -> dict[str, bytes]:
    registry = view.folder.parent / "registry"
    return {str(path.relative_to(registry)): path.read_bytes() for path in registry.rglob("*") if path.is_file()}


@contextmanager
def _nothing_changes(view: View) -> Iterator[None]:
    files, prod = _files(view), view.digest("prod")
    yield
    assert _files(view) == files
    assert view.digest("prod") == prod
    assert view.registry.control()[0].revision == 1


def _full(after: int = 0, number: int = errno.ENOSPC) -> Callable[..., Any]:
    """In place of what writes a file: half of it is written, then there is no room; the first ones are whole."""
    calls: list[Path] = []

    def write(source: Any, destination: Any) -> None:
        content = source.read_bytes() if isinstance(source, Path) else source
        calls.append(destination)
        if len(calls) > after:
            destination.write_bytes(content[: len(content) // 2])
            raise OSError(number, os.strerror(number), "/secret")
        destination.write_bytes(content)

    return write


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_version_that_finds_no_room(
    view: View, command: Commander, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with _nothing_changes(view):
        monkeypatch.setattr(shutil, "copyfile", _full(number=number))
        with pytest.raises(Overloaded, match=NO_ROOM) as caught:
            command("Alias", name="prod", target="bear")
        assert "secret" not in str(caught.value)
    monkeypatch.undo()
    assert command("Alias", name="prod", target="bear") == {"revision": 2}


def test_a_version_whose_signature_found_room(view: View, command: Commander, monkeypatch: pytest.MonkeyPatch) -> None:
    (view.folder.parent / "registry" / "bear.safetensors.sig").write_bytes(b"signed")
    with _nothing_changes(view):
        monkeypatch.setattr(shutil, "copyfile", _full(after=1))
        with pytest.raises(Overloaded, match=NO_ROOM):
            command("Alias", name="prod", target="bear")
    monkeypatch.undo()
    assert command("Alias", name="prod", target="bear") == {"revision": 2}
    assert [name for name in _files(view) if name.endswith(".sig")] == [
        "bear.safetensors.sig",
        f".vico/versions/bear@{view.digest('bear')}.safetensors.sig",
    ]


@pytest.mark.parametrize("name", ["Pin", "Prefetch", "Remove"])
def test_a_control_document_that_finds_no_room(
    view: View, command: Commander, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_bytes = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        if path.name.endswith(".partial"):
            write_bytes(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, content)

    other = make_concept(view.folder.parent / "registry", "cat")
    with _nothing_changes(view):
        monkeypatch.setattr(Path, "write_bytes", half)
        with pytest.raises(Overloaded, match=NO_ROOM):
            command(name, name="cat")
        monkeypatch.undo()
        assert view.digest("cat") == read_package(other).digest
    assert command(name, name="cat") == {"revision": 2}


def test_no_room_where_the_command_runs(view: View, command: Commander, monkeypatch: pytest.MonkeyPatch) -> None:
    (view.folder.parent / "registry" / "bear.safetensors.sig").write_bytes(b"signed")
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "signature":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, content)

    def nowhere(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    for target, attribute, broken in ((Path, "write_bytes", full), (tempfile, "TemporaryDirectory", nowhere)):
        with _nothing_changes(view), monkeypatch.context() as patched:
            patched.setattr(target, attribute, broken)
            with pytest.raises(Overloaded, match=r"^registry: no room for a temporary copy; accepted: ") as caught:
                command("Alias", name="prod", target="bear")
            assert "tmp" not in str(caught.value)
    assert command("Alias", name="prod", target="bear") == {"revision": 2}


@pytest.mark.parametrize("most_bytes", [0, 100, 10_000])
def test_the_systems_own_bound_on_a_file(view: View, most_bytes: int) -> None:
    """The same without a word replaced: what is longer than `RLIMIT_FSIZE` cannot be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _nothing_changes(view):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
        try:
            with pytest.raises(Overloaded, match="no room"):
                view.admin.alias("prod", "bear")
            if most_bytes <= 100:
                with pytest.raises(Overloaded, match=NO_ROOM):
                    view.admin.pin("bear")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert view.admin.alias("prod", "bear").revision == 2
