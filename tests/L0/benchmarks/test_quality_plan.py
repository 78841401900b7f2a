from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quality.errors import QualityError
from benchmarks.quality.pair import Pair, Setting, concepts_in, key_of
from benchmarks.quality.plan import TUNING, AblationPlan, ablation_pairs, comparison_pairs, load_ablations
from benchmarks.quality.tune import parse_changes, tuning_pairs
from training.baselines.methods import METHODS

ROOT = Path(__file__).parents[3]
SHIPPED = Setting(ROOT / "assets/toy-base", ROOT / "assets/photos", "toy", 60.0)


def test_the_shipped_comparison_leaves_out_the_tuning_concepts() -> None:
    pairs = comparison_pairs(SHIPPED)
    concepts = {pair.concept for pair in pairs}
    assert len(concepts) == 12
    assert concepts.isdisjoint(TUNING)
    assert concepts | set(TUNING) == set(concepts_in(SHIPPED.photos))
    assert {pair.label for pair in pairs} == {"plain", *METHODS}
    assert len(pairs) == len({(pair.label, pair.concept) for pair in pairs}) == 12 * 7


def test_methods_and_concepts_may_be_chosen() -> None:
    pairs = comparison_pairs(SHIPPED, ["textual-inversion"], ["teddy-bear"])
    assert [(pair.label, pair.concept) for pair in pairs] == [
        ("plain", "teddy-bear"),
        ("textual-inversion", "teddy-bear"),
    ]
    with pytest.raises(QualityError, match="custom-diffusion"):
        comparison_pairs(SHIPPED, ["dreambath"])
    with pytest.raises(QualityError, match="teddy-bear"):
        comparison_pairs(SHIPPED, concepts=["teddy"])


def test_the_shipped_ablations_change_something_that_the_recipe_has() -> None:
    pairs = [pair for pair in ablation_pairs(SHIPPED, load_ablations()) if pair.concept == "teapot"]
    keys = [key_of(pair) for pair in pairs]
    assert len(set(keys)) == len(keys)
    assert [pair.label for pair in pairs[:2]] == ["plain", "vico"]
    assert {1, 3} <= {pair.photos for pair in pairs}


def test_an_ablation_that_changes_nothing_is_left_out() -> None:
    recipe = Pair("vico", "vico", "teapot", SHIPPED).make().recipe
    plan = AblationPlan.model_validate(
        {
            "concepts": ["teapot", "sneakers"],
            "ablation": [
                {"name": "same", "overrides": {"steps": recipe["steps"]}},
                {"name": "longer", "overrides": {"steps": recipe["steps"] + 1}},
            ],
        }
    )
    assert [pair.label for pair in ablation_pairs(SHIPPED, plan)] == ["plain", "vico", "longer"] * 2


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "concepts"),
        ('concepts = ["a", "b"]\nablation = [{name = "x", overides = {}}]', "overides"),
        ('concepts = ["a", "b"]\nablation = [{name = "x", photos = 0}]', "photos"),
        ('concepts = ["a", "b"]\nablation = [{name = "../x"}]', "name"),
        ('concepts = ["a", "b"]\nablation = [{name = "vico"}]', "name"),
        ("[[", "ablations"),
    ],
)
def test_ablation_lists_are_refused_by_field(text: str, field: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(QualityError) as refused:
        load_ablations(tmp_path / "a.toml")
    assert field in refused.value.field


def test_changes_are_json_or_words() -> None:
    assert parse_changes(["steps=20", "lora_lr=1e-3", "rare_word=sks", 'captions=["a {}"]']) == {
        "steps": 20,
        "lora_lr": 1e-3,
        "rare_word": "sks",
        "captions": ["a {}"],
    }
    with pytest.raises(QualityError, match="field=value"):
        parse_changes(["steps"])


def test_tuning_tries_keep_apart_and_are_found_again() -> None:
    first, second = (tuning_pairs(SHIPPED, "textual-inversion", ["teddy-bear"], {"steps": s}) for s in (5, 6))
    assert first[0] == second[0]
    assert first[1].label != second[1].label
    assert first == tuning_pairs(SHIPPED, "textual-inversion", ["teddy-bear"], {"steps": 5})
