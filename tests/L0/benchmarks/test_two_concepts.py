from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmarks.two_concepts.concepts import trained
from benchmarks.two_concepts.crop import crop_both
from benchmarks.two_concepts.measure import Drawn, draw_pair, score_pair, summary
from benchmarks.two_concepts.page import write_page
from benchmarks.two_concepts.plan import PAIRS, Plan, parse_pairs, require_known
from benchmarks.two_concepts.store import load_pair, pair_folder, save_pair
from training.errors import TrainingError
from training.evaluation.encoder import Features, unit
from training.evaluation.maker import SamplingSettings
from training.evaluation.subject import Subject
from training.recipe import load_recipe
from vico.base import Base

PLAN = Plan((("red", "blue"),), ("in the snow",), seeds=2, settings=SamplingSettings("ddim", 2, 4.0))
RED, BLUE = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
SUBJECTS = (Subject("red", "dog", (RED,), (RED, RED)), Subject("blue", "cat", (BLUE,), (BLUE, BLUE)))


class Colours:
    """Identity is the mean colour."""

    name = "colours"

    def encode(self, pictures: Sequence[Image.Image]) -> Features:
        return unit(np.stack([np.asarray(p, dtype=np.float32).mean(axis=(0, 1)) for p in pictures]))


def test_the_six_pairs_are_twelve_concepts_that_have_photos() -> None:
    index = json.loads(Path("assets/photos/concepts.json").read_text())
    names = [name for pair in PAIRS for name in pair]
    assert len(PAIRS) == 6
    assert len(set(names)) == 12
    assert set(names) <= {entry["id"] for entry in index}
    assert not {"teddy-bear", "rubiks-cube"} & set(names)


def test_pairs_are_read_and_refused_by_name() -> None:
    assert parse_pairs("") == PAIRS
    assert parse_pairs("a+b, c+d") == (("a", "b"), ("c", "d"))
    for wrong in ("a", "a+a", "a+b+c", "+b"):
        with pytest.raises(TrainingError, match=r"^pairs: "):
            parse_pairs(wrong)
    with pytest.raises(TrainingError, match="there is no blue; accepted: red"):
        require_known(PLAN, {"red": SUBJECTS[0]})


def test_identity_above_the_floor_on_both_sides_and_on_one_only(tiny_base: Base) -> None:
    purple = Image.blend(RED, BLUE, 0.5)
    grey = Image.new("RGB", (32, 32), (90, 90, 90))
    both = score_pair(tiny_base, Colours(), SUBJECTS, Drawn([purple, purple], [grey, grey]))
    red, blue = both["concepts"]
    assert both["both_above"]
    assert red["identity"] == pytest.approx(0.707, abs=0.01)
    assert red["floor"] == pytest.approx(0.577, abs=0.01)
    assert (red["ceiling"], blue["gain_standard_error"]) == (1.0, 0.0)
    one = score_pair(tiny_base, Colours(), SUBJECTS, Drawn([RED, RED], [grey, grey]))
    assert [side["above"] for side in one["concepts"]] == [True, False]
    total = summary([both, one])
    assert (total["pairs"], total["pairs_with_both_above"], total["concepts_above"]) == (2, 1, 3)


def test_crops_lie_in_the_picture_and_swap_with_the_words(tiny_base: Base) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    first, second = crop_both(tiny_base, [Image.fromarray(noise), RED], ("dog", "cat"))
    assert [len(first), len(second)] == [2, 2]
    assert all(0 < crop.width == crop.height <= 32 for crop in first + second)


def test_trains_once_draws_keeps_and_shows(tiny_base: Base, tmp_path: Path) -> None:
    for subject in SUBJECTS:
        folder = tmp_path / "photos" / subject.id / "train"
        folder.mkdir(parents=True)
        for i in range(2):
            subject.train[0].save(folder / f"{i}.png")
    recipe = replace(
        load_recipe("toy", tiny_base.path), steps=2, augmentations=0, validation_steps=1, validation_every=9
    )
    console = Console(quiet=True)
    given = (tiny_base, tmp_path / "photos")
    concepts = [trained(*given, subject, recipe, tmp_path / "work", console) for subject in SUBJECTS]
    times = [file.stat().st_mtime_ns for file in sorted((tmp_path / "work").glob("*.safetensors"))]
    again = [trained(*given, subject, recipe, tmp_path / "work", console) for subject in SUBJECTS]
    assert [one.digest for one in again] == [one.digest for one in concepts]
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "work").glob("*.safetensors"))] == times

    drawn = draw_pair(tiny_base, PLAN, SUBJECTS, [one.loaded for one in concepts])
    assert len(drawn.ours) == len(drawn.floor) == 2
    digests = "+".join(one.digest for one in concepts)
    folder = pair_folder(tmp_path, PLAN, ("red", "blue"), digests)
    assert load_pair(folder) is None
    save_pair(folder, drawn)
    kept = load_pair(folder)
    assert kept is not None
    assert [p.tobytes() for p in kept.ours + kept.floor] == [p.tobytes() for p in drawn.ours + drawn.floor]
    others = [
        pair_folder(tmp_path, replace(PLAN, seeds=3), ("red", "blue"), digests),
        pair_folder(tmp_path, PLAN, ("red", "blue"), "other"),
    ]
    assert folder not in others
    write_page(tmp_path / "page.png", PLAN, [(SUBJECTS, drawn)])
    assert Image.open(tmp_path / "page.png").width == 600
