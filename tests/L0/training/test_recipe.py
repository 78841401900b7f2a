from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.errors import RecipeError
from training.recipe import RECIPES, load_recipe, to_dict


def _base(folder: Path, width: int) -> Path:
    (folder / "text_encoder").mkdir(parents=True)
    (folder / "text_encoder" / "config.json").write_text(json.dumps({"hidden_size": width}))
    return folder


def test_every_kind_of_base_has_its_recipe(tmp_path: Path) -> None:
    assert load_recipe(None, _base(tmp_path / "sd", 768)).name == "vico-published"
    assert load_recipe(None, _base(tmp_path / "toy", 64)).name == "toy"
    assert load_recipe(None, tmp_path / "absent").name == "toy"


def test_a_base_may_carry_its_own(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text((RECIPES / "toy.toml").read_text().replace('"toy"', '"house"'))
    assert load_recipe(None, tmp_path).name == "house"
    assert load_recipe("toy", tmp_path).name == "toy"
    assert load_recipe(str(tmp_path / "recipe.toml"), tmp_path / "absent").name == "house"


def test_published_values(tmp_path: Path) -> None:
    """arXiv 2306.00971, section 4.1."""
    published = load_recipe("vico-published", tmp_path)
    assert published == load_recipe("sd15", tmp_path)
    assert (published.token_lr, published.block_lr, published.steps) == (5e-3, 1e-5, 400)
    assert (published.regulariser_weight, published.weight_decay, published.zero_init) == (5e-4, 0.01, False)


def test_single_fields_can_be_replaced(tmp_path: Path) -> None:
    recipe = load_recipe("toy", tmp_path, steps=7, batch_size=None)
    assert recipe.steps == 7
    assert recipe.batch_size == load_recipe("toy", tmp_path).batch_size


def test_as_json_it_is_whole(tmp_path: Path) -> None:
    recipe = load_recipe("toy", tmp_path)
    assert json.loads(json.dumps(to_dict(recipe)))["validation_prompts"] == list(recipe.validation_prompts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps = ", "is not TOML"),
        ('name = "x"', "^steps: "),
        ('name = "x"\nsteps = 0\nbatch_size = 1\ntoken_lr = 1e-3\nblock_lr = 1e-3', "^steps: "),
        ('name = "x"\nsteps = 1\nbatch_size = 1\ntoken_lr = nan\nblock_lr = 1e-3', "^token_lr: "),
        ('name = "x"\nsteps = 1\nbatch_size = 1\ntoken_lr = 1e-3\nblock_lr = 1e-3\nsteep = 1', "^steep: "),
    ],
)
def test_wrong_recipes_are_refused_by_field(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "wrong.toml").write_text(content)
    with pytest.raises(RecipeError, match=message):
        load_recipe(str(tmp_path / "wrong.toml"), tmp_path)


def test_unknown_recipes_are_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="sd15, toy"):
        load_recipe("best", tmp_path)
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(str(tmp_path / "absent.toml"), tmp_path)


PUBLISHED = {
    "reference_context": "prompt", "train_references": 1, "detach": False, "sites": (), "min_snr_gamma": 0,
    "masked_loss": 1, "regulariser": "published", "caption_drop": 0, "image_dropout": 0, "timestep": "uniform",
    "augmentations": 0, "flip": False, "ema": 0, "token_steps": 0, "token_norm": False, "token_decay": 0,
    "token_lr_schedule": None, "negative_image_guidance": 1, "preservation": 0, "scene_captions": 0,
}  # fmt: skip


def test_options_default_to_the_published_method(tmp_path: Path) -> None:
    """What the recipe for Stable Diffusion leaves alone."""
    recipe = load_recipe("sd15", tmp_path)
    assert {field: getattr(recipe, field) for field in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference_context", "both"),
        ("train_references", 0),
        ("train_references", 8),
        ("min_snr_gamma", -1),
        ("min_snr_gamma", float("inf")),
        ("masked_loss", 1.5),
        ("masked_loss", float("nan")),
        ("regulariser", "max"),
        ("caption_drop", 1.0),
        ("image_dropout", -0.1),
        ("timestep", "late"),
        ("augmentations", -1),
        ("flip", True),
        ("ema", 1.0),
        ("token_decay", float("nan")),
        ("token_steps", -1),
        ("token_lr_schedule", "linear"),
        ("sites", [-1]),
        ("negative_image_guidance", 1.1),
        ("preservation", -1),
        ("scene_captions", 1.1),
        ("scene_templates", ["no place for the thing"]),
    ],
)
def test_options_out_of_range_are_refused_by_field(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(RecipeError, match=f"^{field}"):
        load_recipe("sd15", tmp_path, **{field: value})


def test_mirrored_views_want_views(tmp_path: Path) -> None:
    assert load_recipe("toy", tmp_path, flip=True, augmentations=2).flip
