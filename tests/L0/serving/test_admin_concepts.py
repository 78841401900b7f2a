from __future__ import annotations

from pathlib import Path

import pytest
from concept_room import Shelf, View, folder_view, shelf_view

from serving.admin.versions import Versions
from serving.concepts.folder import FolderSource
from serving.errors import ConceptNotFound, InvalidField, RegistryUnreachable
from tests.helpers.concepts import make_concept
from vico.concept import parse_manifest, read_package
from vico.concept.package import read_manifest
from vico.errors import ConceptError, VicoError


@pytest.fixture
def view(tmp_path: Path) -> View:
    return folder_view(tmp_path)


@pytest.fixture
def registry(tmp_path: Path, view: View) -> Path:
    return tmp_path / "registry"


def _digest(path: Path) -> str:
    return read_package(path).digest


def test_the_first_bytes_tell_what_the_file_tells(tmp_path: Path) -> None:
    path = make_concept(tmp_path, "toy")
    content = path.read_bytes()
    assert parse_manifest(content) == read_manifest(path)
    header = 8 + int.from_bytes(content[:8], "little")
    assert parse_manifest(content[:header]) == read_manifest(path)
    for cut in (0, 4, 8, 100, header - 1):
        with pytest.raises(ConceptError):
            parse_manifest(content[:cut])
    for at in range(8, header, 97):
        flipped = bytearray(content)
        flipped[at] ^= 0x41
        try:
            assert parse_manifest(bytes(flipped)) == read_manifest(path)
        except ConceptError:
            continue


def test_the_list_tells_files_aliases_wishes_and_damage(view: View, registry: Path) -> None:
    bear, cat = _digest(make_concept(registry, "bear")), _digest(make_concept(registry, "cat", seed=2))
    (registry / "dog.safetensors").write_bytes(b"torn")
    (registry / "notes.txt").write_bytes(b"not a concept")
    view.admin.alias("prod", "bear")
    view.admin.pin("cat")
    view.admin.prefetch("prod")
    rows = {row.name: row for row in view.admin.list()}
    assert list(rows) == ["bear", "cat", "dog", "prod"]
    assert (rows["bear"].digest, rows["bear"].pinned) == (bear, False)
    assert (rows["cat"].digest, rows["cat"].pinned) == (cat, True)
    assert "truncated" in rows["dog"].error
    assert (rows["prod"].digest, rows["prod"].alias_of, rows["prod"].prefetched) == (bear, "bear", True)
    assert rows["bear"].size_bytes == (registry / "bear.safetensors").stat().st_size


def test_a_description_tells_versions_and_the_last_error(view: View, registry: Path) -> None:
    first = _digest(make_concept(registry, "bear", seed=1))
    view.admin.alias("prod", "bear")
    second = _digest(make_concept(registry, "bear", seed=2))
    view.admin.alias("test", "bear")
    view.admin.alias("prod", "test")
    described = view.admin.describe("prod")
    assert (described.id, described.digest) == ("bear", second)
    assert set(described.versions) == {first, second}
    assert described.aliases == ("prod", "test")
    assert described.previous == (f"bear@{first}",)
    assert described.sites == 2
    old = view.admin.describe(f"bear@{first}")
    assert (old.digest, old.aliases) == (first, ())
    view.digest("bear")
    (registry / "bear.safetensors").write_bytes(b"torn")
    view.digest("bear")
    view.watcher.look()
    assert "truncated" in view.admin.describe("prod").error


@pytest.mark.parametrize("name", ["none", f"bear@{'0' * 64}", "../bear", "bear@../x", "", f"none@{'a' * 64}"])
def test_an_unknown_or_malformed_name_is_refused_everywhere(view: View, registry: Path, name: str) -> None:
    make_concept(registry, "bear")
    admin = view.admin
    for command in (admin.describe, admin.pin, admin.prefetch, admin.rollback, admin.unalias):
        with pytest.raises(VicoError) as caught:
            command(name)
        assert str(registry) not in str(caught.value)
    with pytest.raises(VicoError):
        admin.alias("prod", name)
    assert not (registry / ".vico" / "control").exists()


@pytest.mark.parametrize(
    "name",
    ["none", "../bear", "a/b", ".vico/control/000000000001", ".vico/versions/bear", "bear.safetensors", "", ".", "..",
     "bear@../x", f"../bear@{'a' * 64}", f".vico/versions/bear@{'a' * 64}", f"none@{'a' * 64}", "bear@", "bear\0", "*"],
)  # fmt: skip
def test_what_is_removed_must_be_named_well(view: View, registry: Path, name: str) -> None:
    """`remove` deletes files by name: none but a concept's own."""
    make_concept(registry, "bear", seed=1)
    view.admin.alias("prod", "bear")
    make_concept(registry, "bear", seed=2)
    make_concept(registry.parent, "bear")
    (registry / "a").mkdir()
    make_concept(registry / "a", "b")
    before = {path: path.read_bytes() for path in registry.parent.rglob("*") if path.is_file()}
    with pytest.raises(VicoError) as caught:
        view.admin.remove(name)
    assert str(registry) not in str(caught.value)
    assert {path: path.read_bytes() for path in registry.parent.rglob("*") if path.is_file()} == before


def test_an_alias_is_no_concept_and_a_concept_no_alias(view: View, registry: Path) -> None:
    make_concept(registry, "bear")
    with pytest.raises(InvalidField, match="'bear' is a concept"):
        view.admin.alias("bear", "bear")
    view.admin.alias("prod", "bear")
    with pytest.raises(InvalidField, match="'prod' is an alias"):
        view.admin.remove("prod")
    with pytest.raises(VicoError):
        view.admin.alias("../prod", "bear")


def test_an_alias_outlives_its_file_and_a_server(view: View, registry: Path, tmp_path: Path) -> None:
    first = _digest(make_concept(registry, "bear", seed=1))
    view.admin.alias("prod", "bear")
    (registry / "bear.safetensors").unlink()
    again = folder_view(tmp_path)
    assert again.digest("prod") == first
    assert again.digest(f"prod@{first}") == first
    assert again.digest(f"bear@{first}") == first
    with pytest.raises(ConceptNotFound):
        again.digest("bear")
    with pytest.raises(ConceptNotFound, match="no such version"):
        again.digest(f"prod@{'0' * 64}")


def test_an_alias_moves_at_once_and_back(view: View, registry: Path) -> None:
    first = _digest(make_concept(registry, "bear", seed=1))
    view.admin.alias("prod", "bear")
    assert view.digest("prod") == first
    second = _digest(make_concept(registry, "bear", seed=2))
    assert view.digest("prod") == first, "an alias stands still"
    assert view.admin.alias("prod", "bear").revision == 2
    assert view.digest("prod") == second
    assert view.digest(f"prod@{first}") == first, "what it stood for can be asked for by digest"
    view.admin.rollback("prod")
    assert view.digest("prod") == first
    with pytest.raises(ConceptError, match="nothing to go back to"):
        view.admin.rollback("prod")


def test_versions_that_nobody_refers_to_are_not_kept(view: View, registry: Path) -> None:
    kept = registry / ".vico" / "versions"
    first = _digest(make_concept(registry, "bear", seed=1))
    view.admin.alias("prod", "bear")
    view.admin.pin(f"bear@{first}")
    make_concept(registry, "bear", seed=2)
    view.admin.alias("prod", "bear")
    assert len(list(kept.iterdir())) == 2
    view.admin.unalias("prod")
    assert [path.name for path in kept.iterdir()] == [f"bear@{first}.safetensors"]
    view.admin.unpin(f"bear@{first}")
    assert not list(kept.iterdir())


def test_a_damaged_file_is_never_kept(view: View, registry: Path) -> None:
    path = make_concept(registry, "bear")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConceptError, match="altered"):
        view.admin.alias("prod", "bear")
    assert view.admin.list()[0].digest, "its head is whole"
    assert not list(registry.rglob("*@*"))


def test_what_is_removed_is_gone_everywhere_and_may_come_back_on_word(view: View, registry: Path) -> None:
    path = make_concept(registry, "bear", seed=1)
    first, content = _digest(path), path.read_bytes()
    view.digest("bear")
    second = _digest(make_concept(registry, "bear", seed=2))
    view.digest("bear")
    view.admin.alias("prod", "bear")
    with pytest.raises(InvalidField, match="aliases stand for it: prod"):
        view.admin.remove("bear")
    view.admin.remove(f"bear@{first}")
    with pytest.raises(ConceptNotFound, match="removed by the operator"):
        view.digest(f"bear@{first}")
    assert view.digest("bear") == second, "the other version goes on"
    view.admin.unalias("prod")
    view.admin.remove("bear")
    assert not list(registry.rglob("*.safetensors"))
    (registry / "bear.safetensors").write_bytes(content)
    with pytest.raises(ConceptNotFound, match="removed by the operator"):
        view.digest("bear")
    assert view.admin.list()[0].error == "removed by the operator"
    with pytest.raises(ConceptNotFound, match="restore"):
        view.admin.alias("prod", "bear")
    view.admin.restore(first)
    assert view.digest("bear") == first
    with pytest.raises(ConceptNotFound):
        view.admin.restore(first)


def test_a_damaged_concept_can_be_removed(view: View, registry: Path) -> None:
    (registry / "bear.safetensors").write_bytes(b"torn")
    view.admin.remove("bear")
    assert view.admin.list() == []
    with pytest.raises(ConceptNotFound):
        view.admin.remove("bear")


def test_everything_over_an_object_store(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    digest = shelf.add("bear", seed=1)
    admin = shelf_view(shelf, tmp_path / "store").admin
    admin.alias("prod", "bear")
    second = shelf.add("bear", seed=2)
    assert {row.name: row.digest for row in admin.list()} == {"bear": second, "prod": digest}
    assert admin.describe("prod").size_bytes == admin.describe("bear").size_bytes
    admin.unalias("prod")
    admin.remove("bear")
    assert admin.list() == []
    lost = Shelf(tmp_path)
    with pytest.raises(RegistryUnreachable):
        shelf_view(lost, tmp_path / "other").admin.list()


def test_heads_are_read_again_only_when_they_changed(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_concept(registry, "bear")
    source = FolderSource(registry)
    reads: list[str] = []
    read = source.read

    def counted(name: str, max_bytes: int) -> bytes:
        reads.append(name)
        return read(name, max_bytes)

    monkeypatch.setattr(source, "read", counted)
    versions = Versions(source)
    for _ in range(3):
        versions.head("bear")
    assert len(reads) == 1
    make_concept(registry, "bear", seed=2)
    versions.head("bear")
    assert len(reads) == 2
