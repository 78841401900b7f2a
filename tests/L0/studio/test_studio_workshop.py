"""Checks, folders, and what becomes of photos and package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import studio.workshop
from studio.errors import StudioError
from studio.jobs import Jobs, Phase, Snapshot
from studio.order import Order
from studio.registry import Registry
from studio.workshop import Workshop
from tests.helpers.concepts import make_concept
from tests.helpers.studio_fakes import PHOTOS, REFUSED, SLEEPS, WRITTEN, an_order, telling

PATIENCE = 120.0


class Bench:
    """A workshop whose child does what a test says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registry, self.kept = folder / "registry", folder / "kept"
        self.private, self.trained = folder / "private", folder / "trained"
        for each in (self.registry, self.private, self.trained):
            each.mkdir()
        self.jobs = Jobs()
        self.workshop = Workshop(Path("base"), Registry(self.registry), self.jobs, self.private, self.kept)
        self.events: tuple[dict[str, Any], ...] = (PHOTOS, WRITTEN)
        self.then = ""
        self.upload = self.private / "uploads" / "photo.png"
        self.upload.parent.mkdir()
        Image.new("RGB", (20, 20), "red").save(self.upload)
        monkeypatch.setattr(studio.workshop, "train_command", self._command)

    def order(self, **changes: object) -> Order:
        return an_order(self.upload, **changes)

    def over(self) -> Snapshot:
        snapshot = self.jobs.wait(lambda now: not now.busy, PATIENCE)
        assert not snapshot.busy
        assert not list(self.private.glob("job-*"))
        return snapshot

    def _command(self, order: Order, _base: Path, work: Path, *, look: bool) -> list[str]:
        assert (work / "photos" / "1.png").is_file()
        if not look:
            make_concept(work, order.name)
        return telling(*self.events, then=self.then)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.jobs.cancel()
    made.over()


def test_photos_become_a_concept_and_are_deleted(bench: Bench) -> None:
    bench.workshop.train(bench.order(keep=False))
    assert bench.over().phase is Phase.DONE
    assert [file.name for file in bench.registry.iterdir()] == ["disc.safetensors"]
    assert not bench.upload.exists()
    assert not bench.kept.exists()
    assert bench.workshop.registry.known("disc").found


def test_photos_are_kept_where_that_is_wished(bench: Bench) -> None:
    (bench.kept / "disc").mkdir(parents=True)
    (bench.kept / "disc" / "9.png").write_bytes(b"of the concept that is replaced")
    bench.workshop.train(bench.order(keep=True))
    assert bench.over().phase is Phase.DONE
    assert [file.name for file in (bench.kept / "disc").iterdir()] == ["1.png"]


def test_looking_keeps_the_upload_for_the_training(bench: Bench) -> None:
    bench.events = (PHOTOS,)
    bench.workshop.look(bench.order())
    assert bench.over().phase is Phase.LOOKED
    assert bench.upload.exists()
    assert not list(bench.registry.iterdir())


@pytest.mark.parametrize("ending", ["refused", "cancelled"])
def test_what_does_not_succeed_leaves_nothing(bench: Bench, ending: str) -> None:
    bench.events, bench.then = ((REFUSED,), "") if ending == "refused" else ((PHOTOS,), SLEEPS)
    bench.workshop.train(bench.order(keep=True))
    if ending == "cancelled":
        assert bench.jobs.wait(lambda now: bool(now.photos), PATIENCE).photos
        bench.jobs.cancel()
    assert bench.over().phase in (Phase.FAILED, Phase.CANCELLED)
    assert not list(bench.registry.iterdir())
    assert not bench.kept.exists()
    assert bench.upload.exists()


def test_a_name_that_is_taken_is_refused_unless_it_may_be_replaced(bench: Bench) -> None:
    old = make_concept(bench.registry, "disc", seed=7).read_bytes()
    with pytest.raises(StudioError, match="taken") as caught:
        bench.workshop.train(bench.order())
    assert caught.value.field == "name"
    bench.workshop.train(bench.order(replace=True))
    assert bench.over().phase is Phase.DONE
    assert (bench.registry / "disc.safetensors").read_bytes() != old


def test_a_damaged_package_never_gets_into_the_registry(bench: Bench, tmp_path: Path) -> None:
    package = make_concept(tmp_path / "trained", "disc")
    package.write_bytes(package.read_bytes()[:-1])
    with pytest.raises(StudioError, match="concept: "):
        bench.workshop.registry.install(package, "disc", replace=False)
    assert not list(bench.registry.iterdir())


def test_photos_that_cannot_be_taken_begin_nothing(bench: Bench) -> None:
    bench.upload.write_bytes(b"no picture")
    with pytest.raises(StudioError, match="photo 1"):
        bench.workshop.train(bench.order())
    assert bench.workshop.snapshot.phase is Phase.IDLE


def test_only_uploads_are_deleted(bench: Bench, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    own.write_bytes(b"not an upload")
    bench.workshop.forget([own, bench.private / ".." / "own.png", bench.upload])
    assert own.exists()
    assert not bench.upload.exists()
