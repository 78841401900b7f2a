from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from concept_room import Shelf
from hypothesis import given
from hypothesis import strategies as st

from serving.concepts.control import MAX_PREVIOUS, Alias, Control, split_name
from serving.concepts.control_log import KEPT, ControlLog
from serving.concepts.folder import FolderSource
from serving.concepts.remote import RemoteSource
from serving.concepts.source import CONTROL_FOLDER, Stamp
from serving.errors import RegistryUnreachable
from vico.errors import ConceptError, VicoError

IDS = st.builds(str.__add__, st.sampled_from("az09"), st.text("az09._-", max_size=6))
DIGESTS = st.integers(0, 2**256 - 1).map("{:064x}".format)
VERSIONS = st.builds("{}@{}".format, IDS, DIGESTS)
NAMES = st.one_of(IDS, VERSIONS)
CONTROLS = st.builds(
    Control,
    revision=st.integers(0, 10**9),
    aliases=st.dictionaries(IDS, st.builds(Alias, VERSIONS, st.lists(VERSIONS, max_size=3).map(tuple)), max_size=3),
    pinned=st.lists(NAMES, max_size=3, unique=True).map(tuple),
    prefetched=st.lists(NAMES, max_size=3, unique=True).map(tuple),
    removed=st.dictionaries(DIGESTS, IDS, max_size=3),
)
A, B, C = (f"bear@{digit * 64}" for digit in "abc")


@given(CONTROLS)
def test_a_document_holds_everything(control: Control) -> None:
    assert Control.from_json(control.to_json().encode()) == control


@given(CONTROLS, st.data())
def test_any_part_of_a_document_is_refused(control: Control, data: st.DataObject) -> None:
    content = control.to_json().encode().rstrip()
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ConceptError, match="malformed"):
        Control.from_json(content[:cut])


@pytest.mark.parametrize(
    "text",
    [
        b'{"format_version": 2}',
        b'{"unknown": 1}',
        b'{"aliases": {"../x": {"target": "a"}}}',
        b'{"aliases": {"x": {"target": "bear@../../etc"}}}',
        b'{"pinned": ["bear@short"]}',
        b"[]",
        b"\xff",
    ],
)
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(ConceptError, match="malformed"):
        Control.from_json(text)


@given(CONTROLS, IDS, st.lists(VERSIONS, min_size=1, max_size=2 * MAX_PREVIOUS, unique=True))
def test_an_alias_is_rolled_back_step_by_step(control: Control, name: str, targets: list[str]) -> None:
    control = control.without_alias(name)
    for target in targets:
        control = control.with_alias(name, target)
        assert control.with_alias(name, target) == control, "the same again changes nothing"
    back = targets[::-1][: MAX_PREVIOUS + 1]
    for target in back[:-1]:
        assert control.aliases[name].target == target
        control = control.rolled_back(name)
    assert control.aliases[name].target == back[-1]
    with pytest.raises(ConceptError, match="nothing to go back to"):
        control.rolled_back(name)


@given(CONTROLS, NAMES)
def test_pins_and_wishes_are_taken_back_whole(control: Control, name: str) -> None:
    wished = control.with_pin(name).with_prefetch(name)
    assert name in wished.pinned
    assert name in wished.prefetched
    assert wished.with_pin(name) == wished
    assert wished.released(name) == control.released(name)
    assert name not in wished.without_alias(name).pinned


def test_what_is_removed_is_nowhere_left() -> None:
    control = Control().with_alias("prod", A).with_alias("prod", B).with_pin(A).with_prefetch(A).with_pin("bear")
    after = control.with_removed({A.partition("@")[2]: "bear"})
    assert after.removed == {"a" * 64: "bear"}
    assert after.aliases["prod"] == Alias(B)
    assert after.referenced() == {B}
    assert after.pinned == ("bear",)
    assert after.prefetched == ()
    assert after.restored("a" * 64).removed == {}


@pytest.mark.parametrize(
    "name", ["", "Bear", "../x", "bear@", "bear@xyz", f"bear@{'a' * 63}/", f"bear@{'A' * 64}", "@"]
)
def test_a_name_is_checked_before_a_path_is_made(name: str) -> None:
    with pytest.raises(VicoError):
        split_name(name)


@pytest.fixture(params=["folder", "memory"])
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ControlLog, ControlLog]:
    """Two servers on one registry."""
    if request.param == "folder":
        return ControlLog(FolderSource(tmp_path)), ControlLog(FolderSource(tmp_path))
    shelf = Shelf(tmp_path)
    shelf.put("toy.safetensors", b"")
    return ControlLog(RemoteSource(shelf.url)), ControlLog(RemoteSource(shelf.url))


def test_a_change_is_seen_by_every_server(logs: tuple[ControlLog, ControlLog]) -> None:
    mine, other = logs
    assert mine.current() == Control()
    after = mine.change(lambda control: control.with_alias("prod", A))
    assert after.revision == 1
    other._source.poll()
    assert other.current() == after
    assert mine.change(lambda control: control.with_alias("prod", A)).revision == 1, "nothing changed, nothing written"


def test_no_change_is_lost_among_many_writers(logs: tuple[ControlLog, ControlLog]) -> None:
    names = [f"c{k}" for k in range(10)]

    def write(log: ControlLog, mine: list[str]) -> None:
        for name in mine:
            log.change(lambda control, name=name: control.with_pin(name))  # type: ignore[misc]

    threads = [threading.Thread(target=write, args=(log, names[k::2])) for k, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logs[0]._source.poll()
    assert sorted(logs[0].current().pinned) == names
    assert logs[0].current().revision == len(names)


def test_a_change_that_comes_right_after_the_look_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = ControlLog(FolderSource(tmp_path)), ControlLog(FolderSource(tmp_path))
    source = mine._source
    names = source.names

    def looks_too_early(folder: str) -> Mapping[str, Stamp]:
        found = names(folder)
        monkeypatch.undo()
        other.change(lambda control: control.with_pin("theirs"))
        return found

    monkeypatch.setattr(source, "names", looks_too_early)
    after = mine.change(lambda control: control.with_pin("mine"))
    assert (after.revision, after.pinned) == (2, ("theirs", "mine"))


def test_old_revisions_are_cleared_away(tmp_path: Path) -> None:
    log = ControlLog(FolderSource(tmp_path))
    for k in range(KEPT + 5):
        log.change(lambda control, k=k: control.with_pin(f"c{k}"))  # type: ignore[misc]
    documents = sorted(path.name for path in (tmp_path / CONTROL_FOLDER).iterdir())
    assert len(documents) == KEPT
    assert documents[-1] == f"{KEPT + 5:012d}.json"


def test_a_damaged_revision_changes_nothing_and_the_next_one_counts(tmp_path: Path) -> None:
    log = ControlLog(FolderSource(tmp_path))
    good = log.change(lambda control: control.with_removed({"a" * 64: "bear"}))
    (tmp_path / CONTROL_FOLDER / "000000000007.json").write_bytes(b'{"revision": 7, "removed"')
    assert log.current() == good
    assert ControlLog(FolderSource(tmp_path)).current() == good, "also for a server that starts now"
    after = log.change(lambda control: control.with_pin("bear"))
    assert after.revision == 8
    assert after.removed == good.removed


def test_a_registry_that_was_emptied_begins_anew(logs: tuple[ControlLog, ControlLog]) -> None:
    mine, other = logs
    for name in ("a", "b", "c"):
        mine.change(lambda control, name=name: control.with_pin(name))  # type: ignore[misc]
    for document in [*mine._source.names(CONTROL_FOLDER), f"{CONTROL_FOLDER}/{3:012d}.json"]:
        mine._source.delete(document)
    other.change(lambda control: control.with_pin("new"))
    for log in logs:
        log._source.poll()
        assert (log.current().revision, log.current().pinned) == (1, ("new",))


def test_a_revision_is_what_its_file_is_called(tmp_path: Path) -> None:
    log = ControlLog(FolderSource(tmp_path))
    log.change(lambda control: control.with_pin("a"))
    text = Control(pinned=("b",)).to_json()
    (tmp_path / CONTROL_FOLDER / "000000000009.json").write_text(text)
    assert (log.current().revision, log.current().pinned) == (9, ("b",))


def test_other_files_in_the_folder_do_not_matter(tmp_path: Path) -> None:
    log = ControlLog(FolderSource(tmp_path))
    log.change(lambda control: control.with_pin("bear"))
    for name in ("zzz.json", "00000000000x.json", ".000000000009.json.partial", "000000000009.json.bak"):
        (tmp_path / CONTROL_FOLDER / name).write_bytes(b"{}")
    assert log.current().pinned == ("bear",)


def test_a_refused_step_writes_nothing(tmp_path: Path) -> None:
    log = ControlLog(FolderSource(tmp_path))
    with pytest.raises(ConceptError):
        log.change(lambda control: control.rolled_back("prod"))
    assert not (tmp_path / CONTROL_FOLDER).exists()


def test_a_document_never_grows_beyond_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.concepts.control_log.MAX_DOCUMENT_BYTES", 300)
    log = ControlLog(FolderSource(tmp_path))
    before = log.change(lambda control: control.with_pin("bear"))
    with pytest.raises(ConceptError, match="too many"):
        log.change(lambda control: control.with_removed({digit * 64: "bear" for digit in "abcdef"}))
    assert log.current() == before


def test_a_lost_registry_takes_no_change(tmp_path: Path) -> None:
    log = ControlLog(FolderSource(tmp_path / "gone"))
    with pytest.raises(RegistryUnreachable):
        log.change(lambda control: control.with_pin("bear"))
    assert not (tmp_path / "gone").exists()
