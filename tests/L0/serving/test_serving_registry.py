from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_runners import GRAPHSET

from serving.concepts.admission import Admission
from serving.concepts.folder import FolderSource
from serving.concepts.loading import MAX_VERSIONS, Loader
from serving.concepts.registry import Registry
from serving.concepts.store import ConceptStore
from serving.errors import ConceptNotFound, ConceptRefused, Overloaded, RegistryUnreachable
from tests.helpers.concepts import make_concept
from vico.concept import ConceptPackage
from vico.errors import ConceptError, VicoError


class Room:
    """A registry folder with a server's view of it."""

    def __init__(self, path: Path) -> None:
        self.folder, self.store_folder = path / "registry", path / "store"
        self.folder.mkdir()
        self.store = ConceptStore(self.store_folder, host_bytes=2**20)
        source = FolderSource(self.folder)
        self.registry = Registry(source, Loader(source, self.store, Admission(GRAPHSET), store_bytes=2**30))

    def digest(self, name: str) -> str:
        return self.registry.resolve(name).head.digest

    def refusal(self, name: str) -> str:
        with pytest.raises(ConceptRefused) as caught:
            self.registry.resolve(name)
        self.store.check_integrity()
        assert str(self.folder) not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_new_file_counts_at_once(room: Room) -> None:
    with pytest.raises(ConceptNotFound, match="'toy'"):
        room.registry.resolve("toy")
    make_concept(room.folder, "toy")
    resolved = room.registry.resolve("toy")
    assert resolved.head.placeholder == "*"
    assert resolved.head.token_embedding.shape == (1, 6)
    assert room.store.open(resolved.head.digest).digest == resolved.head.digest


def test_a_replaced_file_counts_at_once_and_the_old_version_stays_by_digest(room: Room) -> None:
    make_concept(room.folder, "toy", seed=1)
    first = room.digest("toy")
    make_concept(room.folder, "toy", seed=2)
    second = room.digest("toy")
    assert first != second
    assert room.digest(f"toy@{first}") == first
    assert room.digest(f"toy@{second}") == second
    assert room.store.open(first).digest == first
    with pytest.raises(ConceptNotFound):
        room.registry.resolve(f"toy@{'0' * 64}")


def test_an_unchanged_file_is_read_once(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_concept(room.folder, "toy")
    os.utime(path, (1, 1))
    time.sleep(0.2)  # a file so fresh is read again: it could change without its times showing it
    adopted: list[ConceptPackage] = []
    adopt = room.store.adopt

    def counted(fetch: Callable[[Path], None], check: Callable[[ConceptPackage, Path], None]) -> ConceptPackage:
        adopted.append(adopt(fetch, check))
        return adopted[-1]

    monkeypatch.setattr(room.store, "adopt", counted)
    for _ in range(3):
        room.digest("toy")
    assert len(adopted) == 1


def test_a_rewrite_within_one_tick_of_the_clock_is_seen(room: Room) -> None:
    digests = set()
    for seed in range(20):
        make_concept(room.folder, "toy", seed=seed)
        digests.add(room.digest("toy"))
    assert len(digests) == 20


def test_a_removed_file_is_gone_with_its_versions(room: Room) -> None:
    path = make_concept(room.folder, "toy")
    digest = room.digest("toy")
    path.unlink()
    for name in ("toy", f"toy@{digest}"):
        with pytest.raises(ConceptNotFound):
            room.registry.resolve(name)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(room: Room, share: float) -> None:
    path = make_concept(room.folder, "toy")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "'toy'" in room.refusal("toy")
    path.write_bytes(content)
    assert room.digest("toy"), "the whole file is taken as soon as it is there"


def test_an_altered_file_is_refused_by_name(room: Room) -> None:
    path = make_concept(room.folder, "toy")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "altered" in room.refusal("toy")


def test_a_concept_of_another_base_is_refused(room: Room) -> None:
    make_concept(room.folder, "toy", base="cd" * 32)
    assert "another base" in room.refusal("toy")
    assert not list(room.store_folder.iterdir()), "what is refused takes no room"


def test_a_concept_that_does_not_fit_the_graphs_is_refused(room: Room) -> None:
    make_concept(room.folder, "wide", width=7)
    assert "token embedding" in room.refusal("wide")
    make_concept(room.folder, "odd", latent=3)
    assert "references" in room.refusal("odd")
    make_concept(room.folder, "big", latent=10)
    assert "references" in room.refusal("big")


def test_a_bad_file_does_not_take_away_the_loaded_version(room: Room) -> None:
    path = make_concept(room.folder, "toy")
    digest = room.digest("toy")
    path.write_bytes(b"torn")
    resolved = room.registry.resolve("toy")
    assert resolved.head.digest == digest
    assert [notice.code for notice in resolved.warnings] == ["concept_stale"]
    assert room.store.open(digest).digest == digest
    make_concept(room.folder, "toy", seed=7)
    healed = room.registry.resolve("toy")
    assert healed.head.digest != digest
    assert healed.warnings == ()


def test_what_is_not_a_file_is_refused(room: Room) -> None:
    os.mkfifo(room.folder / "pipe.safetensors")
    (room.folder / "folder.safetensors").mkdir()
    for name in ("pipe", "folder"):
        assert f"'{name}'" in room.refusal(name)


@pytest.mark.parametrize("name", ["../registry/toy", "toy/../toy", "", "Toy", "."])
def test_an_id_is_checked_before_a_path_is_made(room: Room, name: str) -> None:
    make_concept(room.folder, "toy")
    with pytest.raises(VicoError):
        room.registry.resolve(name)


def test_a_version_that_left_the_store_is_fetched_again(room: Room) -> None:
    make_concept(room.folder, "toy")
    digest = room.digest("toy")
    (room.store_folder / f"{digest}.safetensors").unlink()
    assert room.digest("toy") == digest
    assert (room.store_folder / f"{digest}.safetensors").is_file()


def test_a_bad_file_without_a_kept_version_is_refused(room: Room) -> None:
    path = make_concept(room.folder, "toy")
    digest = room.digest("toy")
    path.write_bytes(b"torn")
    (room.store_folder / f"{digest}.safetensors").unlink()
    assert "'toy'" in room.refusal("toy")


def test_a_folder_that_is_gone_for_a_while_leaves_what_is_loaded(room: Room) -> None:
    make_concept(room.folder, "toy")
    digest = room.digest("toy")
    room.folder.rename(room.folder.with_name("away"))
    for name in ("toy", f"toy@{digest}"):
        resolved = room.registry.resolve(name)
        assert resolved.head.digest == digest
        assert [notice.code for notice in resolved.warnings] == ["registry_unreachable"]
    with pytest.raises(RegistryUnreachable):
        room.registry.resolve("other")
    room.folder.with_name("away").rename(room.folder)
    assert room.registry.resolve("toy").warnings == ()


def test_the_newest_versions_are_kept_whatever_their_order(room: Room) -> None:
    seeds = [1, 2, 1, *range(3, 3 + MAX_VERSIONS - 1)]
    digests = []
    for seed in seeds:
        make_concept(room.folder, "toy", seed=seed)
        digests.append(room.digest("toy"))
    assert room.digest(f"toy@{digests[0]}") == digests[2], "it came back, and so is younger than the second"
    with pytest.raises(ConceptNotFound):
        room.digest(f"toy@{digests[1]}")


def test_the_store_is_trimmed_but_not_of_what_is_in_use(room: Room) -> None:
    for k in range(3):
        make_concept(room.folder, f"c{k}", seed=k)
    digests = [room.digest(f"c{k}") for k in range(3)]
    files = [room.store_folder / f"{digest}.safetensors" for digest in digests]
    with pytest.raises(Overloaded, match="no room"):
        room.store.trim(0)
    assert all(file.exists() for file in files), "all were used just now"
    # marks of an hour ago, and of a machine that was up for longer before it was started again
    long_ago = time.monotonic() - 3600
    os.utime(files[0], (long_ago, long_ago))
    os.utime(files[1], (time.monotonic() + 3600,) * 2)
    room.store.trim(2 * files[2].stat().st_size)
    assert [file.exists() for file in files] == [False, True, True]


def test_a_damaged_copy_is_noticed(room: Room) -> None:
    make_concept(room.folder, "toy")
    digest = room.digest("toy")
    copy = room.store_folder / f"{digest}.safetensors"
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(ConceptError):
        room.store.open(digest)
    with pytest.raises(ConceptNotFound):
        room.store.open("0" * 64)


@pytest.mark.parametrize("damage", [lambda copy: copy[:-1], lambda copy: copy[:-1] + b"?", lambda _: b""])
def test_a_damaged_copy_is_fetched_again(room: Room, damage: Callable[[bytes], bytes]) -> None:
    path = make_concept(room.folder, "toy")
    os.utime(path, (1, 1))
    time.sleep(0.2)  # the file is settled: only what became of the copy can have it read again
    digest = room.digest("toy")
    copy = room.store_folder / f"{digest}.safetensors"
    copy.write_bytes(damage(copy.read_bytes()))
    other_stage = ConceptStore(room.store_folder, host_bytes=2**20)
    with pytest.raises(ConceptError, match=r"damaged.*the same request later"):
        other_stage.open(digest)
    for name in ("toy", f"toy@{digest}"):
        assert room.digest(name) == digest
        assert other_stage.open(digest).digest == digest
    room.store.check_integrity()


def test_a_copy_that_another_process_replaced_meanwhile_is_not_deleted(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_concept(room.folder, "toy")
    digest = room.digest("toy")
    copy = room.store_folder / f"{digest}.safetensors"
    good = copy.read_bytes()
    copy.write_bytes(good[:-1])
    other_stage = ConceptStore(room.store_folder, host_bytes=2**20)
    delete = other_stage._delete_damaged

    def after_a_new_one_came(damaged: str) -> None:
        copy.write_bytes(good)
        delete(damaged)

    monkeypatch.setattr(other_stage, "_delete_damaged", after_a_new_one_came)
    with pytest.raises(ConceptError, match="damaged"):
        other_stage.open(digest)
    assert other_stage.open(digest).digest == digest


def test_no_copy_is_put_in_place_while_a_damaged_one_is_looked_at(room: Room) -> None:
    make_concept(room.folder, "toy")
    with ThreadPoolExecutor(1) as pool:
        with room.store._locked():
            resolving = pool.submit(room.digest, "toy")
            with pytest.raises(TimeoutError):
                resolving.result(0.2)
            assert not list(room.store_folder.glob("*.safetensors"))
        assert room.store.open(resolving.result(60))


def test_a_copy_that_cannot_be_read_now_is_not_deleted(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    make_concept(room.folder, "toy")
    digest = room.digest("toy")

    def broken(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("serving.concepts.store.read_package", broken)
    with pytest.raises(OSError, match="Too many"):
        room.store.open(digest)
    monkeypatch.undo()
    assert room.store.open(digest).digest == digest


def test_host_memory_is_bounded(room: Room) -> None:
    store = ConceptStore(room.store_folder, host_bytes=1)
    make_concept(room.folder, "toy")
    store.open(room.digest("toy"))
    store.check_integrity()


def test_a_full_disk_is_said_and_leaves_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    make_concept(room.folder, "toy")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/secret")

    monkeypatch.setattr("serving.concepts.folder._copy_bounded", full)
    with pytest.raises(Overloaded, match="no room"):
        room.registry.resolve("toy")
    monkeypatch.undo()
    assert room.digest("toy")
    room.store.check_integrity()
