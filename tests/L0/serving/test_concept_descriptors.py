"""However many concepts a stage meets, it has a bounded number of files open."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from concept_room import View, folder_view
from test_serving_stages import Server

from serving.concepts import store as store_module
from serving.concepts.store import LEAST_BYTES, ConceptStore
from tests.helpers.concepts import make_concept, make_token_only
from vico.concept import read_package
from vico.concept.package import read_manifest
from vico.errors import ConceptError


@pytest.fixture
def view(tmp_path: Path) -> View:
    return folder_view(tmp_path)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths


@contextmanager
def _no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 8, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_small_concepts_keep_no_file_open(view: View, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    makers = (make_token_only, make_concept)
    names = [make(registry, f"{make.__name__}{k}").stem for k in range(20) for make in makers]
    digests = [view.digest(name) for name in names]
    before = _descriptors()
    packages = [view.store.open(digest) for digest in digests]
    assert _descriptors() == before
    assert [package.digest for package in packages] == digests


@pytest.mark.parametrize("room", [2.5, 8, 40])
def test_no_more_concepts_are_mapped_than_there_are_descriptors_for(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: float
) -> None:
    monkeypatch.setattr(store_module, "MAPPED_FROM_BYTES", 1000)
    monkeypatch.setattr(store_module, "MAX_MAPPED", 8)
    for k in range(20):
        make_concept(tmp_path / "registry", f"c{k}", seed=k)
    digests = [view.digest(f"c{k}") for k in range(20)]
    size = view.store.open(digests[0]).size_bytes
    store = ConceptStore(view.folder, int(room * size))
    before = _descriptors()
    for digest in digests:
        store.open(digest)
    held = _descriptors() - before
    assert held <= 8
    assert held == 0 or room <= 8, "with more room than for eight of this size, only larger ones are mapped"
    store.check_integrity()


def test_the_smallest_concepts_are_bounded_in_number(view: View, tmp_path: Path) -> None:
    for k in range(12):
        make_token_only(tmp_path / "registry", f"word{k}")
    store = ConceptStore(view.folder, 4 * LEAST_BYTES)
    for k in range(12):
        store.open(view.digest(f"word{k}"))
    assert len(store.held()) == 4
    store.warm(view.digest("word0"))
    assert len(store.held()) == 4
    assert view.digest("word0") not in store.held(), "nothing leaves for what is loaded ahead"
    store.check_integrity()


def test_without_a_descriptor_no_package_is_called_damaged_or_gone(view: View, tmp_path: Path) -> None:
    path = make_concept(tmp_path / "registry")
    digest = view.digest("toy")
    store = ConceptStore(view.folder, 0)
    with _no_descriptor_left():
        for read in (lambda: read_package(path), lambda: read_manifest(path), lambda: store.open(digest)):
            with pytest.raises(OSError, match="Too many open files") as caught:
                read()
            assert caught.value.errno == errno.EMFILE
    assert store.open(digest).digest == digest


def test_a_machine_without_memory_calls_no_package_damaged(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_concept(tmp_path / "registry")
    digest = view.digest("toy")

    def full(*_: object, **__: object) -> None:
        raise OSError("Cannot allocate memory (os error 12)")

    with monkeypatch.context() as patched:
        patched.setattr("vico.concept.package.safe_open", full)
        with pytest.raises(OSError, match="allocate"):
            view.store.open(digest)
        with pytest.raises(ConceptError, match="not safetensors"):
            read_package(tmp_path)
    assert view.store.open(digest).digest == digest, "the copy was not taken for a damaged one"


def test_what_is_not_read_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(tmp_path)
    make_token_only(server.registry_folder, "word")
    make_concept(server.registry_folder, "toy")
    opened: list[str] = []
    monkeypatch.setattr(server.image._store, "open", opened.append)
    for name in ("word", "toy"):
        tensors = server.tensors(prompt="a *", concept=name, steps=1, image_guidance=0.0)
        assert tensors["reference_latent"].shape[0] == 0
    assert server.tensors(prompt="a *", concept="word", steps=1)["reference_latent"].shape[0] == 0
    assert not opened
