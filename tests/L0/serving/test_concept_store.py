"""Bounds, pins and faults of what a server keeps of concepts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from concept_room import View, folder_view
from hypothesis import given
from hypothesis import strategies as st

from serving.cache import ByteLRU
from serving.concepts.keeper import Keeper
from serving.concepts.store import LEAST_BYTES, ConceptStore
from serving.concepts.wishes import Wishes, read_holdings, read_wishes, write_wishes
from serving.errors import ConceptRefused, Overloaded
from tests.helpers.concepts import make_concept
from vico.concept import read_package
from vico.errors import ConceptError


@pytest.fixture
def view(tmp_path: Path) -> View:
    return folder_view(tmp_path)


def _registry(view: View) -> Path:
    return view.folder.parent / "registry"


OPERATIONS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 12)),
    st.tuples(st.just("get"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("drop"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("pin"), st.integers(0, 5), st.integers(0, 5)),
)


@given(st.lists(OPERATIONS, max_size=40))
def test_a_cache_keeps_its_bound_and_its_pins(operations: list[tuple[str, int, int]]) -> None:
    cache: ByteLRU[int, bytes] = ByteLRU(10, len)
    pinned: set[int] = set()
    for operation, key, number in operations:
        held = pinned & set(cache.keys())
        if operation == "put":
            cache.put(key, bytes(number))
            held -= {key}  # it was replaced, perhaps by what does not fit
        elif operation == "get":
            cache.get(key)
        elif operation == "drop":
            cache.drop(key)
        else:
            pinned = {key, number}
            held &= pinned
            cache.pin(pinned)
        assert held <= set(cache.keys()), "pinned, and yet evicted"
        cache.check_integrity()
        assert cache.room_bytes >= 0


def test_the_disk_bound_holds_and_is_said(tmp_path: Path) -> None:
    size = make_concept(tmp_path, "probe").stat().st_size
    view = folder_view(tmp_path, store_bytes=2 * size + 100)
    for k in range(2):
        make_concept(_registry(view), f"c{k}", seed=k)
        view.digest(f"c{k}")
    make_concept(_registry(view), "c2", seed=2)
    with pytest.raises(Overloaded, match="no room"):
        view.digest("c2")
    assert view.store.use.disk_bytes <= view.store_bytes
    # what was used long ago makes room; what is pinned does not
    first, second = view.digest("c0"), view.digest("c1")
    view.loader.pinned = {first}
    for digest in (first, second):
        os.utime(view.folder / f"{digest}.safetensors", (1, 1))
    assert view.digest("c2")
    assert [view.store._path(digest).exists() for digest in (first, second)] == [True, False]


def test_a_stale_version_is_served_while_there_is_no_room(tmp_path: Path) -> None:
    size = make_concept(tmp_path, "probe").stat().st_size
    view = folder_view(tmp_path, store_bytes=size + 100)
    make_concept(_registry(view), "toy", seed=1)
    old = view.digest("toy")
    make_concept(_registry(view), "toy", seed=2)
    assert view.digest("toy") == old
    assert view.codes("toy") == ["concept_stale"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of its own")
def test_a_full_disk_refuses_and_heals(tmp_path: Path) -> None:
    import subprocess

    small = tmp_path / "store"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=52k", "none", small], check=False).returncode:
        pytest.skip("may not mount here")
    try:
        view = folder_view(tmp_path)
        make_concept(_registry(view), "one", seed=1)
        first = view.digest("one")
        make_concept(_registry(view), "two", seed=2)
        view.digest("two")
        make_concept(_registry(view), "three", seed=3)
        with pytest.raises(Overloaded, match="no room"):
            view.digest("three")
        assert view.digest("one") == first
        view.store.check_integrity()
        (small / f"{first}.safetensors").unlink()
        assert view.digest("three")
        view.store.check_integrity()
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("hours", [-24 * 365, 24 * 365])
def test_a_clock_that_jumps_evicts_nothing_in_use_and_keeps_nothing_for_ever(
    view: View, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    make_concept(_registry(view), "toy")
    digest = view.digest("toy")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
    with pytest.raises(Overloaded):
        view.store.trim(0)
    assert view.digest("toy") == digest
    up = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: up() + 3600)
    view.store.trim(0)
    assert view.store.use.versions == 0


@pytest.mark.parametrize("shift", [-(10**9), -3600, 3600, 10**9])
def test_a_file_of_another_clock_is_read_whenever_it_changes(view: View, shift: int) -> None:
    path = _registry(view) / "toy.safetensors"
    seen = []
    for seed in range(4):
        make_concept(_registry(view), "toy", seed=seed)
        stamp = time.time() + shift
        os.utime(path, (stamp, stamp))
        seen.append((view.digest("toy"), read_package(path).digest))
    assert all(served == written for served, written in seen)
    assert len(set(seen)) == 4


def test_a_rewrite_in_place_while_it_is_read_is_no_concept(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_concept(_registry(view), "toy", seed=1)
    other = make_concept(view.folder.parent, "other", seed=2).read_bytes()
    from serving.concepts import folder

    copy = folder._copy_bounded

    def rewritten(reader: object, destination: Path, max_bytes: int) -> None:
        copy(reader, destination, max_bytes)  # type: ignore[arg-type]
        with path.open("r+b") as file:
            file.write(other[:100] + os.urandom(8))

    monkeypatch.setattr(folder, "_copy_bounded", rewritten)
    with pytest.raises(ConceptRefused, match="replaced while it was read"):
        view.digest("toy")
    monkeypatch.undo()
    make_concept(_registry(view), "toy", seed=3)
    assert view.digest("toy")
    view.store.check_integrity()


def test_a_rename_while_it_is_read_gives_one_version_whole(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    make_concept(_registry(view), "toy", seed=1)
    from serving.concepts import folder

    copy = folder._copy_bounded
    replaced: list[Path] = []

    def renamed(reader: object, destination: Path, max_bytes: int) -> None:
        if not replaced:
            replaced.append(make_concept(_registry(view), "toy", seed=2))
        copy(reader, destination, max_bytes)  # type: ignore[arg-type]

    monkeypatch.setattr(folder, "_copy_bounded", renamed)
    view.digest("toy")
    monkeypatch.undo()
    assert view.digest("toy") == read_package(replaced[0]).digest
    view.store.check_integrity()


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    view = folder_view(tmp_path)
    (view.folder / ".0123.partial").write_bytes(b"half")
    with pytest.raises(AssertionError, match="unfinished"):
        view.store.check_integrity()
    folder_view(tmp_path).store.check_integrity()


def test_a_copy_that_lies_about_its_digest_is_noticed(view: View) -> None:
    make_concept(_registry(view), "toy", seed=1)
    digest = view.digest("toy")
    make_concept(_registry(view), "other", seed=2)
    (view.folder / f"{digest}.safetensors").write_bytes((_registry(view) / "other.safetensors").read_bytes())
    with pytest.raises(AssertionError, match="another version"):
        view.store.check_integrity()
    with pytest.raises(ConceptError, match="damaged"):
        ConceptStore(view.folder, 0).open(digest)


def test_the_operators_wishes_reach_the_stage_that_holds_packages(view: View) -> None:
    for k in range(4):
        make_concept(_registry(view), f"c{k}", seed=k)
    # each is smaller than the least that is counted
    held = ConceptStore(view.folder, 2 * LEAST_BYTES + LEAST_BYTES // 2)
    told: list[Wishes] = []
    keeper = Keeper("unet_loop", held, told.append, lambda: ["slotted"])
    view.admin.pin("c0")
    view.admin.prefetch("c1")
    view.watcher.look()
    keeper.look()
    keeper.look()
    digests = [view.digest(f"c{k}") for k in range(4)]
    assert told == [Wishes((digests[0],), (digests[1],))]
    assert set(held.held()) == set(digests[:2])
    for digest in digests:
        held.open(digest)
    assert digests[0] in held.held(), "pinned"
    assert digests[1] not in held.held()
    held.check_integrity()
    keeper.look()
    [holding] = read_holdings(view.folder)
    assert (holding.stage, holding.slots) == ("unet_loop", ("slotted",))
    assert digests[0] in holding.host
    described = view.admin.describe("c0")
    assert described.pinned
    assert [(place.stage, place.host, place.slot) for place in described.residence] == [("unet_loop", True, False)]
    view.admin.remove("c0")
    view.watcher.look()
    keeper.look()
    assert digests[0] not in held.held()


def test_wishes_survive_what_cannot_be_had(view: View) -> None:
    make_concept(_registry(view), "toy")
    view.admin.pin("toy")
    digest = view.digest("toy")
    view.watcher.look()
    assert read_wishes(view.folder) == Wishes((digest,))
    (_registry(view) / "toy.safetensors").unlink()
    view.watcher.look()
    assert read_wishes(view.folder) == Wishes()
    make_concept(_registry(view), "toy")
    view.watcher.look()
    wished = read_wishes(view.folder)
    assert wished.pinned
    _registry(view).rename(_registry(view).with_name("away"))
    view.watcher.look()
    assert read_wishes(view.folder) == wished, "an outage unpins nothing"
    write_wishes(view.folder, Wishes(prefetched=("0" * 64,)))
    Keeper("stage", ConceptStore(view.folder, 100)).look()


def test_a_watcher_and_a_keeper_run_beside_and_end(view: View) -> None:
    make_concept(_registry(view), "toy")
    view.admin.pin("toy")
    keeper = Keeper("stage", ConceptStore(view.folder, 2**20), interval_seconds=0.01).start()
    view.watcher.start()
    deadline = time.monotonic() + 60
    while not any(holding.host for holding in read_holdings(view.folder)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    keeper.close()
    view.watcher.close()
