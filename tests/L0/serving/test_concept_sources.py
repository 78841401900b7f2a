"""What every source must do, over a folder, memory and a real S3 protocol."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from concept_room import Shelf

from serving.concepts.folder import FolderSource
from serving.concepts.opening import open_source
from serving.concepts.remote import ATTEMPTS, RemoteSource
from serving.concepts.source import CONTROL_FOLDER, FileReplaced, Source
from serving.errors import LaunchError, Overloaded, RegistryUnreachable
from vico.errors import ConceptError


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 endpoint on this machine."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    if request.param == "folder":
        (tmp_path / "registry").mkdir()
        return FolderSource(tmp_path / "registry")
    if request.param == "memory":
        return RemoteSource(Shelf(tmp_path).url, patience_seconds=0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"concepts-{os.urandom(4).hex()}"
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
    return RemoteSource(f"s3://{bucket}/shelf", patience_seconds=0.01)


def _written(source: Source, work: Path, name: str, content: bytes) -> None:
    file = work / "content"
    file.write_bytes(content)
    source.put(name, file)
    source.poll()


def test_a_file_is_found_listed_and_fetched(source: Source, tmp_path: Path) -> None:
    content = os.urandom(5 * 2**20)
    _written(source, tmp_path, "toy.safetensors", content)
    stamp = source.find("toy.safetensors")
    assert stamp is not None
    assert stamp.size_bytes == len(content)
    assert source.names("") == {"toy.safetensors": stamp}
    source.fetch("toy.safetensors", stamp, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert source.read("toy.safetensors", 7) == content[:7]
    assert source.find("other.safetensors") is None


def test_a_replaced_file_has_another_stamp_and_is_not_fetched_as_the_old_one(source: Source, tmp_path: Path) -> None:
    _written(source, tmp_path, "toy.safetensors", b"first")
    old = source.find("toy.safetensors")
    assert old is not None
    _written(source, tmp_path, "toy.safetensors", b"other")
    assert source.find("toy.safetensors") != old
    with pytest.raises(FileReplaced):
        source.fetch("toy.safetensors", old, tmp_path / "copy")


def test_a_deleted_file_is_gone_and_may_be_deleted_again(source: Source, tmp_path: Path) -> None:
    _written(source, tmp_path, "toy.safetensors", b"content")
    _written(source, tmp_path, "stays.safetensors", b"content")
    stamp = source.find("toy.safetensors")
    assert stamp is not None
    for _ in range(2):
        source.delete("toy.safetensors")
    source.poll()
    assert source.find("toy.safetensors") is None
    with pytest.raises(FileNotFoundError):
        source.fetch("toy.safetensors", stamp, tmp_path / "copy")
    with pytest.raises(FileNotFoundError):
        source.read("toy.safetensors")


def test_a_document_is_created_once_among_many_writers(source: Source, tmp_path: Path) -> None:
    _written(source, tmp_path, "toy.safetensors", b"content")
    name, outcomes = f"{CONTROL_FOLDER}/000000000001.json", []
    barrier = threading.Barrier(4)

    def write(k: int) -> None:
        barrier.wait()
        try:
            source.create(name, b"%d" % k)
            outcomes.append(k)
        except FileExistsError:
            outcomes.append(-1)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [k for k in outcomes if k >= 0]
    assert len(outcomes) == 4
    assert len(winners) == 1
    source.poll()
    assert source.read(name) == b"%d" % winners[0]
    assert list(source.names(CONTROL_FOLDER)) == [name]


def test_a_file_too_large_is_refused_before_it_is_read(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.concepts.source.MAX_PACKAGE_BYTES", 4)
    _written(source, tmp_path, "toy.safetensors", b"content")
    stamp = source.find("toy.safetensors")
    assert stamp is not None
    with pytest.raises(ConceptError, match="too large"):
        source.fetch("toy.safetensors", stamp, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of its own")
def test_a_full_disk_is_told_from_a_lost_registry(source: Source, tmp_path: Path) -> None:
    import subprocess

    _written(source, tmp_path, "toy.safetensors", os.urandom(2**20))
    stamp = source.find("toy.safetensors")
    assert stamp is not None
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=False).returncode:
        pytest.skip("may not mount here")
    try:
        with pytest.raises(Overloaded, match="no room"):
            source.fetch("toy.safetensors", stamp, small / "copy")
    finally:
        subprocess.run(["umount", small], check=True)


def test_what_breaks_for_a_while_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    content = os.urandom(3 * 10)
    monkeypatch.setattr("serving.concepts.remote.CHUNK_BYTES", 10)
    shelf.put("toy.safetensors", content)
    source = RemoteSource(shelf.url, patience_seconds=0.01)
    source.poll()
    stamp = source.find("toy.safetensors")
    assert stamp is not None
    asked: list[int] = []
    cat = shelf.files.cat_file

    def flaky(path: str, start: int, end: int) -> Any:
        asked.append(start)
        if asked.count(start) < 3:
            raise ConnectionError("https://secret.example/bucket")
        return cat(path, start=start, end=end)

    monkeypatch.setattr(shelf.files, "cat_file", flaky)
    source.fetch("toy.safetensors", stamp, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert asked == [0] * 3 + [10] * 3 + [20] * 3, "what was fetched is not fetched again"

    def broken(*_: Any, **__: Any) -> Any:
        asked.append(-1)
        raise ConnectionError("https://secret.example/bucket")

    monkeypatch.setattr(shelf.files, "cat_file", broken)
    with pytest.raises(RegistryUnreachable) as caught:
        source.fetch("toy.safetensors", stamp, tmp_path / "other")
    assert asked.count(-1) == ATTEMPTS
    assert "secret" not in str(caught.value)


def test_a_short_read_is_no_whole_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    shelf.put("toy.safetensors", b"content")
    source = RemoteSource(shelf.url, patience_seconds=0.01)
    source.poll()
    stamp = source.find("toy.safetensors")
    assert stamp is not None
    monkeypatch.setattr(shelf.files, "cat_file", lambda *_, **__: b"cont")
    with pytest.raises(RegistryUnreachable):
        source.fetch("toy.safetensors", stamp, tmp_path / "copy")


def test_an_object_store_that_is_lost_keeps_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(tmp_path)
    shelf.put("toy.safetensors", b"content")
    source = RemoteSource(shelf.url)
    assert not source.reachable, "nobody has looked yet"
    source.poll()
    assert source.reachable
    shelf.files.rm(shelf.root, recursive=True)
    source.poll()
    assert not source.reachable
    assert source.find("toy.safetensors") is not None
    shelf.put("new.safetensors", b"content")
    source.poll()
    assert source.reachable
    assert list(source.names("")) == ["new.safetensors"]


def test_a_folder_that_is_lost_is_not_an_empty_one(tmp_path: Path) -> None:
    source = FolderSource(tmp_path / "registry")
    with pytest.raises(RegistryUnreachable):
        source.find("toy.safetensors")
    with pytest.raises(RegistryUnreachable):
        source.names("")
    with pytest.raises(RegistryUnreachable):
        source.create("x", b"")
    assert not source.reachable


def test_links_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    source = FolderSource(tmp_path / "registry")
    (tmp_path / "elsewhere").write_bytes(b"first")
    (tmp_path / "registry" / "toy.safetensors").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "registry" / "dangling.safetensors").symlink_to(tmp_path / "nothing")
    (tmp_path / "registry" / "loop.safetensors").symlink_to("loop.safetensors")
    (tmp_path / "registry" / "device.safetensors").symlink_to("/dev/zero")
    stamp = source.find("toy.safetensors")
    assert stamp is not None
    source.fetch("toy.safetensors", stamp, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"first"
    (tmp_path / "other").write_bytes(b"second")
    (tmp_path / "other").replace(tmp_path / "elsewhere")
    assert source.find("toy.safetensors") != stamp, "what the link leads to was replaced"
    assert source.find("dangling.safetensors") is None
    assert source.find("loop.safetensors") is None
    device = source.find("device.safetensors")
    assert device is not None
    with pytest.raises(ConceptError, match="not a regular file"):
        source.fetch("device.safetensors", device, tmp_path / "never")


def test_a_registry_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="no such folder"):
        open_source(tmp_path / "none")
    with pytest.raises(LaunchError, match="cannot be opened"):
        open_source("nonsense://bucket")
    assert isinstance(open_source("memory://x"), RemoteSource)
