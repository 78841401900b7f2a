from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from training.baselines.methods import METHODS, PLAIN, make_method
from training.baselines.recipe import BaselineRecipe, PriorRecipe, load_baseline_recipe, shipped_recipes
from training.errors import RecipeError
from training.evaluation.maker import SamplingSettings

SETTINGS = SamplingSettings("ddim", 2, 3.0)
TOY = Path("nowhere")


@pytest.mark.parametrize("name", [*METHODS, PLAIN])
def test_every_method_is_known_by_its_name_and_its_recipe_is_json(name: str) -> None:
    method = make_method(name, TOY, SETTINGS)
    assert method.name == name
    assert json.loads(json.dumps(dict(method.recipe))) == method.recipe
    assert method.version >= 1


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_is_called_as_its_method(name: str) -> None:
    assert name in METHODS
    assert make_method(name, TOY, SETTINGS).recipe["name"] == name


def test_single_fields_are_replaced() -> None:
    before, after = (make_method("dreambooth-lora", TOY, SETTINGS, c).recipe for c in ({}, {"rank": 3}))
    assert dict(after) == dict(before) | {"rank": 3}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"lora_lr": 0}, "lora_lr"),
        ({"steps": "many"}, "steps"),
        ({"captions": ["a photo"]}, "captions.0"),
        ({"captions": []}, "captions"),
        ({"rnak": 4}, "rnak"),
    ],
)
def test_refusals_name_the_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(RecipeError) as refused:
        make_method("dreambooth-lora", TOY, SETTINGS, changes)
    assert refused.value.field == field
    assert "lora_lr" in refused.value.accepted


def test_unknown_methods_are_refused_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="textual-inversion"):
        make_method("dreambath", TOY, SETTINGS)
    with pytest.raises(RecipeError, match="method"):
        load_baseline_recipe(PriorRecipe, "dreambath")


def test_recipes_are_frozen() -> None:
    recipe = BaselineRecipe(name="a", steps=1, batch_size=1)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.steps = 2  # type: ignore[misc]
