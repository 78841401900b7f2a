from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.quality.errors import QualityError
from benchmarks.quality.pair import Pair, Setting, key_of
from benchmarks.quality.plan import comparison_pairs
from benchmarks.quality.store import Store
from benchmarks.quality.work import pool, run_pair, run_pairs
from tests.L0.benchmarks.quality_fakes import fake_run

QUIET = Console(quiet=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "work")


@pytest.fixture
def pairs(setting: Setting) -> list[Pair]:
    return comparison_pairs(setting, ["textual-inversion"])


def calls(store: Store) -> list[str]:
    file = store.folder.parent / "calls"
    return file.read_text().splitlines() if file.is_file() else []


def test_every_pair_is_run_once_and_then_never_again(store: Store, pairs: list[Pair]) -> None:
    assert run_pairs(pairs, store, QUIET, ThreadPoolExecutor(1), fake_run) == 6
    assert sorted(calls(store)) == sorted(f"{pair.label} {pair.concept}" for pair in pairs)
    assert run_pairs(pairs, store, QUIET, ThreadPoolExecutor(1), fake_run) == 0
    assert len(calls(store)) == 6


def test_pairs_go_to_other_processes_and_back(store: Store, pairs: list[Pair]) -> None:
    assert run_pairs(pairs[:3], store, QUIET, pool(2), fake_run) == 3
    assert all(store.finished(pair) for pair in pairs[:3])


def test_a_run_that_died_goes_on_with_what_is_missing(store: Store, pairs: list[Pair]) -> None:
    poison = store.folder.parent / "poison"
    poison.write_text("cup")
    with pytest.raises(OSError, match="full"):
        run_pairs(pairs, store, QUIET, ThreadPoolExecutor(1), fake_run)
    done = [pair for pair in pairs if store.finished(pair)]
    assert {pair.concept for pair in done} == {"ark", "bell"}
    poison.unlink()
    before = len(calls(store))
    assert run_pairs(pairs, store, QUIET, ThreadPoolExecutor(1), fake_run) == 2
    assert {line.split()[1] for line in calls(store)[before:]} == {"cup"}


@pytest.mark.parametrize("damage", ["no facts", "torn facts", "no pictures", "torn pictures", "other pictures"])
def test_what_a_kill_left_half_is_not_finished(damage: str, store: Store, pairs: list[Pair]) -> None:
    run_pairs(pairs, store, QUIET, ThreadPoolExecutor(1), fake_run)
    pair, sheet = pairs[0], store.folder / pairs[0].label / f"{pairs[0].concept}.png"
    if damage == "no facts":
        sheet.with_suffix(".json").unlink()
    elif damage == "torn facts":
        sheet.with_suffix(".json").write_text('{"key": "ab')
    elif damage == "no pictures":
        sheet.unlink()
    elif damage == "torn pictures":
        sheet.write_bytes(sheet.read_bytes()[:-9])
    else:
        shutil.copy(store.folder / pairs[1].label / f"{pairs[2].concept}.png", sheet)
        sheet.write_bytes(sheet.read_bytes() + b"\0")
    assert not store.finished(pair)
    with pytest.raises(QualityError, match=f"{pair.label} on {pair.concept}"):
        store.load(pair)
    assert run_pairs(pairs, store, QUIET, ThreadPoolExecutor(1), fake_run) == 1


def test_pictures_come_back_as_they_were_drawn(store: Store, pairs: list[Pair]) -> None:
    run_pairs(pairs[:1], store, QUIET, ThreadPoolExecutor(1), fake_run)
    drawn, facts = store.load(pairs[0])
    suite = pairs[0].suite
    assert [(one.prompt, one.seed) for one in drawn] == [(p, s) for p in suite.prompts for s in suite.seeds]
    assert [one.picture.getpixel((4, 4)) for one in drawn] == [(s, 0, 0) for _ in suite.prompts for s in suite.seeds]
    assert (facts.seconds, facts.steps, facts.parameters) == (1.5, 2, 3)


def test_the_key_knows_everything_that_decides(setting: Setting, tmp_path: Path) -> None:
    pair = Pair("textual-inversion", "textual-inversion", "ark", setting)
    other_suite = tmp_path / "other.toml"
    other_suite.write_text(Path(setting.suite).read_text().replace("steps = 2", "steps = 3"))
    changed = [
        replace(pair, method="dreambooth-lora"),
        replace(pair, concept="bell"),
        replace(pair, overrides={"steps": 7}),
        replace(pair, photos=1),
        replace(pair, setting=replace(setting, seed=1)),
        replace(pair, setting=replace(setting, seconds=2.0)),
        replace(pair, setting=replace(setting, suite=str(other_suite))),
    ]
    keys = [key_of(one) for one in [pair, *changed]]
    assert len(set(keys)) == len(keys)
    assert key_of(replace(pair, label="other name")) == keys[0]
    photo = setting.photos / "ark" / "train" / "1.png"
    photo.write_bytes(photo.read_bytes() + b"\0")
    assert key_of(pair) not in keys


def test_stale_pairs_are_refused_and_run_again(store: Store, pairs: list[Pair], setting: Setting) -> None:
    run_pairs(pairs, store, QUIET, ThreadPoolExecutor(1), fake_run)
    later = comparison_pairs(replace(setting, seed=1), ["textual-inversion"])
    with pytest.raises(QualityError, match="stale"):
        store.load(later[0])
    assert run_pairs(later, store, QUIET, ThreadPoolExecutor(1), fake_run) == len(later)


def test_a_real_pair_trains_draws_and_is_kept(store: Store, setting: Setting) -> None:
    pair = Pair("t", "textual-inversion", "ark", setting, {"steps": 2, "batch_size": 2}, photos=1)
    facts = run_pair(pair, store.folder)
    assert (facts.steps, facts.parameters) == (2, 32)
    drawn, kept = store.load(pair)
    assert kept.key == facts.key
    assert {one.picture.size for one in drawn} == {(32, 32)}


def test_a_concept_that_is_not_there_is_refused(setting: Setting) -> None:
    with pytest.raises(QualityError, match="ark, bell, cup"):
        key_of(Pair("plain", "plain", "drum", setting))
