"""Recipes: how a concept is trained, one TOML file per kind of base."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from training.errors import RecipeError
from training.templates import SCENE_TEMPLATES
from vico.concept import ReferenceContext

RECIPES = Path(__file__).parent / "recipes"
BASE_RECIPE = "recipe.toml"
"""A base folder may carry its own recipe under this name."""

_Rate = Annotated[float, Field(gt=0, le=1)]
_Count = Annotated[int, Field(ge=1)]
_Number = Annotated[int, Field(ge=0)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, lt=1)]
Caption = Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]

Schedule = Literal["constant", "cosine"]
RegulariserKind = Literal["published", "mean", "none"]
TimestepDraw = Literal["uniform", "stratified", "high_noise"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """Everything that decides the result of a training run besides base, photos, words and seed.

    What has a default is, by default, the published method; everything else is an option beside it.
    """

    name: str
    steps: _Count
    batch_size: _Count
    token_lr: _Rate
    block_lr: _Rate
    lr_schedule: Schedule = "constant"
    token_lr_schedule: Schedule | None = None
    """The token's own; None = `lr_schedule`."""
    warmup_steps: _Number = 0
    token_steps: _Number = 0
    """After so many steps the token stays as it is, and a step takes less time; 0 = it is trained to the end."""
    token_norm: bool = False
    """Keep the norm of the token's vectors at that of the init word's embedding."""
    token_decay: _Weight = 0.0
    """Decoupled pull towards the init word's embedding, in the way of AdamW's weight decay. A step of Adam moves a
    component by about the rate, so that none gets further away than about 1 / token_decay."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(ge=0)] = 0.0
    """0 = gradients are not clipped."""
    zero_init: bool = False
    """Image attention blocks begin as the identity."""
    sites: tuple[_Number, ...] = ()
    """Numbers of the sites whose blocks are trained, the others staying the identity; () = all."""
    regulariser: RegulariserKind = "published"
    """The attention regulariser: the published sum over the sites, their mean, or none."""
    regulariser_weight: Annotated[float, Field(ge=0)] = 5e-4
    min_snr_gamma: _Weight = 0.0
    """Min-SNR weights (Hang et al. 2023, arXiv 2303.09556), 5 there; 0 = every timestep counts the same."""
    masked_loss: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of the error outside the object's mask; 1 = the same as inside."""
    preservation: _Weight = 0.0
    """Weight of one more error, outside the object's mask: of ε against the plain base's for the same caption with the
    init word in it. So the surroundings stay the base's, whatever the photos show there; 0 = off."""
    scene_captions: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of captions that name a scene, whatever the photo shows. They teach nonsense unless the surroundings do
    not count (`masked_loss = 0`)."""
    scene_templates: tuple[Caption, ...] = SCENE_TEMPLATES
    """Those captions, with {} where the placeholder stands."""
    timestep: TimestepDraw = "uniform"
    """`stratified`: one from each of `batch_size` equal parts; `high_noise`: see `training.draws`."""
    reference_context: ReferenceContext = "prompt"
    """What the reference stream reads: the row's caption, or the concept's fixed prompt (kept in the package)."""
    negative_image_guidance: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Kept in the package: share of the image guidance that guidance's negative half gets when pictures are made."""
    train_references: Annotated[int, Field(ge=1, le=7)] = 1
    """Other photos that a row attends to, as far as there are others; a single photo attends to itself."""
    detach: bool = False
    """No gradient flows through the reference features into the token."""
    caption_drop: _Share = 0.0
    """Share of rows with the empty caption, the image attention on: what guidance subtracts."""
    image_dropout: _Share = 0.0
    """Share of rows with the image attention off, so that the token by itself says what kind of thing it is."""
    augmentations: Annotated[int, Field(ge=0, le=64)] = 0
    """Further views made of every photo, as targets: moved, scaled and tinted a little."""
    flip: bool = False
    """Mirror some of the further views; not for things with writing on them or a left and a right."""
    ema: _Share = 0.0
    """Decay of the moving average of token and blocks that is drawn from and packed, such as 0.98; 0 = none."""
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

    @field_validator("flip")
    @classmethod
    def _flip_needs_views(cls, flip: bool, info: ValidationInfo) -> bool:
        if flip and not info.data.get("augmentations"):
            raise ValueError("only the views that `augmentations` makes are mirrored: 1 or more of them")
        return flip

    @field_validator("scene_templates")
    @classmethod
    def _scene_captions_need_templates(cls, templates: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("scene_captions") and not templates:
            raise ValueError("`scene_captions` draws from them: 1 or more")
        return templates


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
