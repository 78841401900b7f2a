from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.helpers.evaluation import ColourEncoder, HalfJudge, disc, make_subject
from training.evaluation.draw import Drawn
from training.evaluation.encoder import Features
from training.evaluation.gate import GateError, gate
from training.evaluation.scorer import Scorer, Scores
from training.evaluation.subject import Subject
from training.evaluation.suite import Suite
from vico.base import Base

RED, GREEN, GREY = (220, 20, 20), (20, 200, 20), (128, 128, 128)


@pytest.fixture(autouse=True)
def whole_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops of a random base say nothing; here every box is the middle of the picture."""
    monkeypatch.setattr(
        "training.evaluation.crop.Cropper.boxes", lambda self, pictures, word: [(10, 10, 22, 22)] * len(pictures)
    )


def drawn(suite: Suite, colour: tuple[int, int, int], ground: tuple[int, int, int] = (150, 150, 150)) -> list[Drawn]:
    return [Drawn(prompt, seed, disc(colour, ground)) for prompt in suite.prompts for seed in suite.seeds]


def scored(base: Base, subjects: Sequence[Subject], made: Sequence[Drawn], floor: Sequence[Drawn]) -> Scores:
    return Scorer(base, subjects, [ColourEncoder()], HalfJudge()).score(subjects[0], made, floor)


def test_the_right_thing_stands_between_floor_and_ceiling(
    tiny_base: Base, suite: Suite, red: Subject, blue: Subject
) -> None:
    scores = scored(tiny_base, [red, blue], drawn(suite, RED), drawn(suite, GREEN))
    name = ColourEncoder.name
    assert scores.floor_crop[name] < scores.identity_crop[name] <= scores.ceiling_crop[name] + 1e-6
    assert scores.retrieval_map[name] == scores.retrieval_top1[name] == 1
    assert scores.closed_share(name) == pytest.approx(1, abs=0.05)
    gate(scores)


def test_another_thing_is_refused_by_the_gate(tiny_base: Base, suite: Suite, red: Subject, blue: Subject) -> None:
    scores = scored(tiny_base, [red, blue], drawn(suite, (20, 20, 220)), drawn(suite, RED))
    assert scores.retrieval_top1[ColourEncoder.name] == 0
    assert scores.closed_share(ColourEncoder.name) < 0 or scores.floor_crop[ColourEncoder.name] > 0.99
    with pytest.raises(GateError, match="does not beat the floor"):
        gate(scores)


@pytest.mark.parametrize("identity", [0.5, 0.4, float("nan")])
def test_the_gate_wants_more_than_the_floor(tiny_base: Base, suite: Suite, red: Subject, identity: float) -> None:
    scores = scored(tiny_base, [red], drawn(suite, RED), drawn(suite, GREEN))
    with pytest.raises(GateError) as refused:
        gate(replace(scores, identity_crop={"x": identity}, floor_crop={"x": 0.5}))
    assert refused.value.field == "gate"


def test_text_is_the_mean_over_families(tiny_base: Base, suite: Suite, red: Subject) -> None:
    made = drawn(suite, RED)[:3]  # seed 0 alone of the second family
    made[2] = replace(made[2], seed=0)
    scores = scored(tiny_base, [red], made, drawn(suite, GREEN))
    assert scores.text_by_family == {"recontextualise": 0.5, "attribute": 1.0}
    assert scores.text == 0.75


def test_a_copied_photo_is_counted(tiny_base: Base, suite: Suite, red: Subject) -> None:
    fresh, copied = drawn(suite, RED, ground=(20, 160, 90)), drawn(suite, RED)
    copied[0] = replace(copied[0], picture=red.train[0])
    assert scored(tiny_base, [red], fresh, fresh).copying == 0
    assert scored(tiny_base, [red], [*fresh[:3], copied[0]], fresh).copying == pytest.approx(0.25)


def test_look_alikes_join_the_gallery(tiny_base: Base, suite: Suite, red: Subject) -> None:
    alike = {"toy": [disc((220, 60, 60), (150, 150, 150))], "other": [disc(RED, GREY)] * 5}
    scorer = Scorer(tiny_base, [red], [ColourEncoder()], HalfJudge(), alike)
    made = drawn(suite, (220, 60, 60))
    with_alike = scorer.score(red, made, made).retrieval_map[ColourEncoder.name]
    assert scored(tiny_base, [red], made, made).retrieval_map[ColourEncoder.name] == 1
    assert with_alike < 1


@pytest.mark.parametrize("held_out", [0, 1])
def test_few_held_out_photos_fall_back_to_the_training_photos(tiny_base: Base, suite: Suite, held_out: int) -> None:
    subject = make_subject("red", RED, held_out)
    scores = scored(tiny_base, [subject], drawn(suite, RED), drawn(suite, GREEN))
    assert np.isfinite(list(scores.ceiling.values())).all()


def test_the_floor_is_encoded_once(tiny_base: Base, suite: Suite, red: Subject, encoder: ColourEncoder) -> None:
    scorer = Scorer(tiny_base, [red], [encoder], HalfJudge())
    floor = drawn(suite, GREEN)
    scorer.score(red, drawn(suite, RED), floor)
    before = encoder.seen
    scorer.score(red, drawn(suite, RED), floor)
    assert encoder.seen == before


def test_an_encoder_that_needs_a_fixed_set_gets_every_real_photo(tiny_base: Base, red: Subject, blue: Subject) -> None:
    class Fitting(ColourEncoder):
        fixed = 0

        def fitted(self, pictures: Sequence[Image.Image]) -> Fitting:
            self.fixed = len(pictures)
            return self

    encoder = Fitting()
    Scorer(tiny_base, [red, blue], [encoder], HalfJudge())
    assert encoder.fixed == 2 * (len(red.train) + len(red.held_out)) * 2


def test_closed_share_without_a_gap_is_not_a_number(tiny_base: Base, suite: Suite, red: Subject) -> None:
    scores = scored(tiny_base, [red], drawn(suite, RED), drawn(suite, GREEN))
    flat = replace(scores, floor_crop={"x": 0.5}, ceiling_crop={"x": 0.5}, identity_crop={"x": 0.7})
    assert np.isnan(flat.closed_share("x"))


def test_features_type() -> None:
    rows: Features = ColourEncoder().encode([disc(RED, GREY)])
    assert rows.shape == (1, 3)
    assert np.linalg.norm(rows) == pytest.approx(1)
