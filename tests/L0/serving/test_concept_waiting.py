"""What a waiting picture will read stays on disk, however long it waits."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from concept_room import View, folder_view
from fake_runners import FakeDenoiser, FakeReferenceEncoder, make_spec

from serving.bank import SlotBank
from serving.concepts.store import IN_USE_SECONDS, ConceptStore
from serving.engine import Engine
from serving.entrance import MARK_SECONDS, Entrance
from serving.lane import Lane
from serving.preparing import Packages
from serving.references import ReferenceFeatures
from serving.scheduling import DEFAULT_POLICY, Room
from tests.helpers.concepts import SITES, make_concept


@pytest.fixture
def view(tmp_path: Path) -> View:
    """Of the first stage, which alone deletes."""
    view = folder_view(tmp_path)
    for k in range(4):
        make_concept(tmp_path / "registry", f"c{k}", seed=k)
    return view


def _entrance(packages: Packages) -> Entrance:
    return Entrance(SlotBank(SITES, 1), packages, None, Room(1, 2, "in_flight"), DEFAULT_POLICY)


def _hours_pass(view: View) -> None:
    for copy in view.folder.glob("*.safetensors"):
        used = time.monotonic() - 2 * IN_USE_SECONDS
        os.utime(copy, (used, used))


def test_a_long_wait_loses_no_package(view: View) -> None:
    digests = [view.digest(f"c{k}") for k in range(4)]
    loop = ConceptStore(view.folder, 2**20)
    entrance = _entrance(Packages(loop.open, mark=loop.mark))
    lanes = [Lane(make_spec(digest=digest)) for digest in digests[:3]]
    for lane in lanes:
        entrance.add(lane)
    entrance.prepare([], 0, now=0.0)
    _hours_pass(view)
    entrance.prepare([], 1, now=MARK_SECONDS)
    view.admin.remove("c1")
    view.watcher.look()
    size = max(copy.stat().st_size for copy in view.folder.glob("*.safetensors"))
    view.store.trim(3 * size)
    assert sorted(copy.stem for copy in view.folder.glob("*.safetensors")) == sorted(digests[:3])
    for lane, digest in zip(lanes, digests, strict=False):
        assert loop.open(digest).digest == digest
        entrance.remove(lane)
    _hours_pass(view)
    entrance.prepare([], 2, now=2 * MARK_SECONDS)
    view.watcher.look()
    assert digests[1] not in [copy.stem for copy in view.folder.glob("*.safetensors")], "nobody waits for it now"


@pytest.mark.parametrize("marked", [True, False])
def test_the_engine_marks_what_waits(view: View, marked: bool) -> None:
    digests = [view.digest(f"c{k}") for k in range(3)]
    loop = ConceptStore(view.folder, 0)
    now = [0.0]
    references = ReferenceFeatures(FakeReferenceEncoder(), len(SITES), 2**20)
    engine = Engine(
        FakeDenoiser(), references, SlotBank(SITES, 1), loop.open, SITES, 1, clock=lambda: now[0],
        mark=loop.mark if marked else lambda _: None,
    )  # fmt: skip
    # only the package of the lane that joins next is read ahead
    *earlier, last = (engine.submit(make_spec(digest=digest)) for digest in digests)
    engine.step()
    _hours_pass(view)
    now[0] += MARK_SECONDS
    engine.step()
    view.admin.remove("c2")
    view.watcher.look()
    while not engine.idle:
        engine.step()
    assert all(lane.done for lane in earlier)
    assert last.done == marked
    assert marked or "no longer kept" in str(last.error)


def test_marks_are_few_and_beside_the_loop() -> None:
    marks: list[tuple[frozenset[str], int]] = []

    def mark(digests: Collection[str]) -> None:
        marks.append((frozenset(digests), threading.get_ident()))

    with ThreadPoolExecutor(1) as pool:
        entrance = _entrance(Packages(lambda _: pytest.fail("no lane is near"), pool, mark=mark))
        entrance.add(Lane(make_spec()))
        entrance.prepare([], 0, now=100.0)
        lanes = [Lane(make_spec(digest=digest)) for digest in ("a", "b", "a")]
        for lane in lanes:
            entrance.add(lane)
        for step in range(1000):
            entrance.prepare([], step, now=100.0 + step * 0.119)
    assert [digests for digests, _ in marks] == [frozenset("ab")]
    assert marks[0][1] != threading.get_ident()
    assert MARK_SECONDS < IN_USE_SECONDS / 5
