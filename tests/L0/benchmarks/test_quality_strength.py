"""One training, seven strengths, and what the table says about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.quality import strength as module
from benchmarks.quality.pair import Pair, Setting, key_of
from benchmarks.quality.records import Record, make_record
from benchmarks.quality.store import Store
from benchmarks.quality.strength import STRENGTHS, plot, rises, run_strengths, strength_pairs, strength_table
from tests.L0.benchmarks.quality_fakes import FakeScorer, fake_run
from training.baselines.methods import PLAIN
from training.baselines.two_streams import Learned, TwoStreams
from training.evaluation.maker import PictureMaker, SamplingSettings
from training.evaluation.subject import Subject


def test_strengths_differ_in_their_keys_and_in_nothing_else(setting: Setting) -> None:
    pairs = strength_pairs(setting, ["ark", "bell"])
    assert len(pairs) == 2 * (1 + len(STRENGTHS))
    own = [pair for pair in pairs if pair.concept == "ark" and pair.method != PLAIN]
    assert [pair.suite.settings.image_guidance for pair in own] == list(STRENGTHS)
    assert len({key_of(pair) for pair in own}) == len(STRENGTHS)
    as_trained = next(pair for pair in own if pair.image_guidance == 1)
    assert key_of(as_trained) == key_of(replace(as_trained, image_guidance=None))


def test_a_concept_is_trained_once_for_all_strengths(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[str] = []

    def learn(self: TwoStreams, base: object, subject: Subject, seed: int, seconds: float) -> Learned:
        trainings.append(subject.id)
        return Learned(None, 1.5, 2, 3)  # type: ignore[arg-type]  # the fake maker never looks at it

    def maker(base: object, concept: object, settings: SamplingSettings) -> PictureMaker:
        colour = (round(100 * settings.image_guidance), 0, 0)
        return lambda _, seeds: [Image.new("RGB", (8, 8), colour) for _ in seeds]

    monkeypatch.setattr(TwoStreams, "learn", learn)
    monkeypatch.setattr(module, "concept_maker", maker)
    pairs = [pair for pair in strength_pairs(setting, ["ark"]) if pair.method != PLAIN]
    facts = run_strengths(pairs[-1], tmp_path)
    assert trainings == ["ark"]
    assert (facts.label, facts.steps) == ("strength 1.5", 2)
    for pair in pairs:
        drawn, _ = Store(tmp_path).load(pair)
        assert drawn[0].picture.getpixel((0, 0)) == (round(100 * (pair.image_guidance or 0)), 0, 0)


def records(setting: Setting, folder: Path, identities: Sequence[float]) -> list[Record]:
    found = []
    for pair, identity in zip(_learned(setting), identities, strict=True):
        fake_run(pair, folder)
        drawn, facts = Store(folder).load(pair)
        scores = FakeScorer().score(Subject("ark", "toy", (), ()), drawn, drawn)
        found.append(make_record(facts, scores).model_copy(update={"identity_crop": identity}))
    return found


def _learned(setting: Setting) -> list[Pair]:
    return [pair for pair in strength_pairs(setting, ["ark"]) if pair.method != PLAIN]


def test_the_table_says_whether_identity_rises(setting: Setting, tmp_path: Path) -> None:
    rising = records(setting, tmp_path / "work", [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6])
    assert "**yes**" in strength_table(rising)
    assert "for: none" in strength_table(rising)
    falling = [*rising[:-1], rising[-1].model_copy(update={"identity_crop": 0.49})]
    assert "**no**" in strength_table(falling)
    assert "for: ark" in strength_table(falling)
    assert plot(rising)[:4] == b"\x89PNG"


def test_what_rises() -> None:
    assert rises([1.0, 1.0, 2.0])
    assert not rises([1.0, 2.0, 1.9])
