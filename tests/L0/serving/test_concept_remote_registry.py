"""Requests over a registry in an object store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from concept_room import FOREVER, Shelf, View, shelf_view

from serving.errors import ConceptLoading, ConceptNotFound, ConceptRefused, RegistryUnreachable


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    shelf.put("readme.txt", b"")
    yield shelf
    if shelf.files.exists(shelf.root):
        shelf.files.rm(shelf.root, recursive=True)


@pytest.fixture
def view(shelf: Shelf, tmp_path: Path) -> View:
    return shelf_view(shelf, tmp_path / "store")


def test_a_new_concept_is_here_before_it_is_asked_for(shelf: Shelf, view: View) -> None:
    digest = shelf.add("toy")
    view.look()
    assert view.digest("toy") == digest
    assert view.codes("toy") == []
    assert view.store.open(digest).digest == digest
    view.store.check_integrity()


def test_a_replaced_concept_never_blocks_and_then_counts(
    shelf: Shelf, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = shelf.add("toy", seed=1)
    view.look()
    gate, fetch = threading.Event(), view.source.fetch

    def slow(*arguments: Any) -> None:
        assert gate.wait(FOREVER)
        fetch(*arguments)

    monkeypatch.setattr(view.source, "fetch", slow)
    new = shelf.add("toy", seed=2)
    view.watcher.look()
    for _ in range(5):
        assert view.digest("toy") == old, "the download is under way; nobody waits for it"
    gate.set()
    view.settle()
    assert view.digest("toy") == new
    assert view.digest(f"toy@{old}") == old


def test_an_alias_of_what_is_loaded_never_waits(shelf: Shelf, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = shelf.add("toy")
    view.look()
    shelf_view(shelf, view.folder.with_name("operator")).admin.alias("prod", "toy")
    gate, fetch = threading.Event(), view.source.fetch

    def slow(*arguments: Any) -> None:
        assert gate.wait(FOREVER)
        fetch(*arguments)

    monkeypatch.setattr(view.source, "fetch", slow)
    view.watcher.look()
    assert view.digest("prod") == digest, "its kept file is still on its way"
    gate.set()
    view.settle()
    shelf.remove("toy.safetensors")
    view.look()
    assert view.digest("prod") == digest


def test_a_concept_on_its_way_is_said_to_be(shelf: Shelf, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.add("toy")
    gate, fetch = threading.Event(), view.source.fetch

    def slow(*arguments: Any) -> None:
        assert gate.wait(FOREVER)
        fetch(*arguments)

    monkeypatch.setattr(view.source, "fetch", slow)
    view.watcher.look()
    with pytest.raises(ConceptLoading, match="'toy' is being fetched"):
        view.digest("toy")
    gate.set()
    view.settle()
    assert view.digest("toy")


def test_a_file_that_no_request_can_name_is_not_fetched(shelf: Shelf, view: View) -> None:
    shelf.put("Not An Id.safetensors", b"x")
    view.look()
    assert view.registry.entries() == {}


def test_a_removed_concept_is_gone_from_the_next_look_on(shelf: Shelf, view: View) -> None:
    digest = shelf.add("toy")
    view.look()
    shelf.remove("toy.safetensors")
    assert view.digest("toy") == digest
    view.look()
    for name in ("toy", f"toy@{digest}"):
        with pytest.raises(ConceptNotFound, match="no concept 'toy'"):
            view.digest(name)
    assert view.registry.entries() == {}
    assert view.store.open(digest).digest == digest, "requests under way still find it"


def test_a_lost_object_store_leaves_what_is_loaded(shelf: Shelf, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = shelf.add("toy")
    view.look()

    def lost(*_: Any, **__: Any) -> Any:
        raise ConnectionError("https://secret.example/bucket")

    monkeypatch.setattr(shelf.files, "ls", lost)
    monkeypatch.setattr(shelf.files, "cat_file", lost)
    view.look()
    assert view.digest("toy") == digest
    assert view.codes("toy") == ["registry_unreachable"]
    assert view.digest(f"toy@{digest}") == digest
    with pytest.raises(RegistryUnreachable) as caught:
        view.digest("other")
    assert "secret" not in str(caught.value)
    monkeypatch.undo()
    view.look()
    assert view.codes("toy") == []
    with pytest.raises(ConceptNotFound):
        view.digest("other")


def test_a_server_that_starts_without_its_registry_takes_it_up_later(
    shelf: Shelf, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = shelf.add("toy")
    with pytest.raises(RegistryUnreachable):
        view.digest("toy")
    view.look()
    assert view.digest("toy") == digest


def test_a_corrupt_package_under_a_live_id_changes_nothing_but_a_warning(shelf: Shelf, view: View) -> None:
    digest = shelf.add("toy", seed=1)
    view.look()
    good = shelf.files.cat_file(f"{shelf.root}/toy.safetensors")
    for bad in (b"", good[:-1], good[: len(good) // 2], good[:-9] + b"\xff" + good[-8:]):
        shelf.put("toy.safetensors", bad)
        view.look()
        assert view.digest("toy") == digest
        assert view.codes("toy") == ["concept_stale"]
    healed = shelf.add("toy", seed=2)
    view.look()
    assert view.digest("toy") == healed
    assert view.codes("toy") == []
    view.store.check_integrity()


def test_a_corrupt_package_is_refused_by_name_and_not_fetched_again_and_again(
    shelf: Shelf, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("toy.safetensors", b"nonsense")
    fetched: list[str] = []
    fetch = view.source.fetch

    def counted(name: str, *arguments: Any) -> None:
        fetched.append(name)
        fetch(name, *arguments)

    monkeypatch.setattr(view.source, "fetch", counted)
    for _ in range(3):
        view.look()
        with pytest.raises(ConceptRefused, match="'toy': the file is truncated"):
            view.digest("toy")
    assert fetched == ["toy.safetensors"]


def test_a_download_that_breaks_is_tried_again_at_the_next_look(
    shelf: Shelf, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = shelf.add("toy", seed=1)
    view.look()
    new = shelf.add("toy", seed=2)

    def broken(*_: Any) -> None:
        raise RegistryUnreachable("concept", "the registry cannot be reached now")

    monkeypatch.setattr(view.source, "fetch", broken)
    view.look()
    assert view.digest("toy") == old
    view.settle()
    assert view.codes("toy") == ["registry_unreachable"]
    view.settle()
    monkeypatch.undo()
    view.look()
    assert view.digest("toy") == new
    assert view.codes("toy") == []


def test_a_mirror_evicts_nothing_for_what_nobody_asked_for(shelf: Shelf, tmp_path: Path) -> None:
    digests = {f"c{k}": shelf.add(f"c{k}", seed=k) for k in range(4)}
    size = shelf.files.size(f"{shelf.root}/c0.safetensors")
    view = shelf_view(shelf, tmp_path / "store", store_bytes=2 * size + size // 2)
    view.look()
    assert view.store.use.versions == 2
    assert view.store.use.disk_bytes <= view.store_bytes
    here = [name for name, digest in digests.items() if view.store.touch(digest)]
    assert [view.digest(name) for name in here] == [digests[name] for name in here]


def test_an_alias_and_a_removal_reach_every_server(shelf: Shelf, view: View, tmp_path: Path) -> None:
    other = shelf_view(shelf, tmp_path / "other")
    first, second = shelf.add("bear", seed=1), ""
    view.admin.alias("bear-prod", "bear")
    second = shelf.add("bear", seed=2)
    for server in (view, other):
        server.look()
        assert server.digest("bear-prod") == first
        assert server.digest("bear") == second
    other.admin.alias("bear-prod", "bear")
    for server in (view, other):
        server.look()
        assert server.digest("bear-prod") == second
    view.admin.rollback("bear-prod")
    for server in (view, other):
        server.look()
        assert server.digest("bear-prod") == first
    view.admin.unalias("bear-prod")
    view.admin.remove("bear")
    for server in (view, other):
        server.look()
        for name in ("bear", "bear-prod", f"bear@{first}", f"bear@{second}"):
            with pytest.raises(ConceptNotFound):
                server.digest(name)
    shelf.add("bear", seed=2)
    view.look()
    with pytest.raises(ConceptNotFound, match="removed by the operator"):
        view.digest("bear")
