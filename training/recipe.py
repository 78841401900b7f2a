"""Recipes: how a concept is trained, one TOML file per kind of base."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from training.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"
BASE_RECIPE = "recipe.toml"
"""A base folder may carry its own recipe under this name."""

_Rate = Annotated[float, Field(gt=0, le=1)]
_Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Everything that decides the result of a training run besides base, photos, words and seed."""

    name: str
    steps: _Count
    batch_size: _Count
    token_lr: _Rate
    block_lr: _Rate
    lr_schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(ge=0)] = 0.0
    """0 = gradients are not clipped."""
    zero_init: bool = False
    """Image attention blocks begin as the identity."""
    regulariser_weight: Annotated[float, Field(ge=0)] = 5e-4
    size: Annotated[int, Field(ge=0)] = 0
    """Side of the training pictures in pixels; 0 = the base's own."""
    centre_crop: bool = True
    """Cut photos to a square; otherwise they are squeezed into one."""
    vectors: _Count = 1
    """Learned vectors that stand for the placeholder."""
    references: _Count = 1
    """Photos whose latents are kept in the package."""
    gradient_checkpointing: bool = False
    checkpoint_every: _Count = 50
    validation_every: _Count = 50
    validation_prompts: tuple[str, ...] = ("a photo of a {}", "a {} on the beach", "a {} in the snow", "a {} on grass")
    """With {} where the placeholder stands."""
    validation_steps: _Count = 25
    guidance_scale: Annotated[float, Field(ge=1)] = 7.5


_ADAPTER = TypeAdapter(Recipe)


def load_recipe(choice: str | None, base: Path, **overrides: Any) -> Recipe:
    """The recipe `choice` (a file, or the name of a shipped one), else the base's own, else the one for its kind.

    `overrides` replace single fields; those that are None are left as they are.

    Raises:
        RecipeError: there is no such recipe, or a field of it is missing, unknown or out of range.
    """
    content = _read(_locate(choice, base)) | {name: value for name, value in overrides.items() if value is not None}
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise RecipeError(field, f"{first['msg']} (recipe {content.get('name', '?')!r})", _accepted()) from None


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """As plain JSON values, for manifests and checkpoints."""
    content: dict[str, Any] = _ADAPTER.dump_python(recipe, mode="json")
    return content


def _locate(choice: str | None, base: Path) -> Path:
    if choice is None:
        return base / BASE_RECIPE if (base / BASE_RECIPE).is_file() else RECIPES / f"{_kind(base)}.toml"
    if Path(choice).suffix == ".toml":
        return Path(choice)
    for file in sorted(RECIPES.glob("*.toml")):
        if choice in (file.stem, _read(file).get("name")):
            return file
    shipped = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    raise RecipeError("recipe", f"no recipe is called {choice!r}", f"{shipped}, or a .toml file")


def _kind(base: Path) -> str:
    """Bases with the text width of Stable Diffusion 1.x train as such, all others as toys."""
    try:
        width = json.loads((base / "text_encoder" / "config.json").read_text()).get("hidden_size")
    except (OSError, ValueError):
        # `load_base` will say what is wrong with the folder
        width = None
    return "sd15" if width == 768 else "toy"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError:
        raise RecipeError("recipe", f"{file} cannot be read", "a .toml file, or the name of a shipped recipe") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError("recipe", f"{file.name} is not TOML ({error})", "a .toml file") from None


def _accepted() -> str:
    return ", ".join(field.name for field in dataclasses.fields(Recipe))
