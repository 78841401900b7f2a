"""Recipes of the baselines: one TOML file each, checked field by field."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import RecipeError
from training.templates import TEMPLATES

RECIPES = Path(__file__).parent / "recipes"

Rate = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Caption = Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]


class BaselineRecipe(BaseModel):
    """What all baselines have in common: AdamW on the noise-prediction error of photos with captions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    steps: Count
    batch_size: Count
    lr_schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(ge=0)] = 0.0
    """0 = gradients are not clipped."""
    captions: Annotated[tuple[Caption, ...], Field(min_length=1)] = TEMPLATES
    """With {} where the thing is named."""


class PriorRecipe(BaselineRecipe):
    """Of methods that may also train on the base's own pictures of the class, lest it be forgotten."""

    class_pictures: Annotated[int, Field(ge=0)] = 0
    """Pictures drawn from the base before training; 0 = no prior preservation. A step then sees as many of them as
    photos."""
    class_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of their loss beside that of the photos."""


R = TypeVar("R", bound=BaselineRecipe)


def load_baseline_recipe(kind: type[R], name: str, overrides: dict[str, Any] | None = None) -> R:
    """The shipped recipe of a baseline, with single fields replaced.

    Raises:
        RecipeError: there is no such recipe, or a field of it is missing, unknown or out of range.
    """
    file = RECIPES / f"{name}.toml"
    if not file.is_file():
        raise RecipeError("method", f"no recipe is called {name!r}", ", ".join(shipped_recipes()))
    try:
        return kind.model_validate(tomllib.loads(file.read_text()) | (overrides or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise RecipeError(where, f"{first['msg']} (recipe {name!r})", ", ".join(kind.model_fields)) from None


def shipped_recipes() -> list[str]:
    """Names of the recipes beside this file."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))
