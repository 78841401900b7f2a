"""All methods of the comparison, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.baselines.custom_diffusion import CustomDiffusion, CustomDiffusionRecipe
from training.baselines.dreambooth_lora import DreamBoothLora, DreamBoothRecipe
from training.baselines.method import Method
from training.baselines.plain import Plain
from training.baselines.recipe import RECIPES, load_baseline_recipe
from training.baselines.textual_inversion import TextualInversion, TextualInversionRecipe
from training.baselines.two_streams import TwoStreams
from training.errors import RecipeError
from training.evaluation.maker import SamplingSettings
from training.recipe import load_recipe

PLAIN = "plain"
OURS = "vico"
METHODS = (OURS, "vico-fixed-context", "vico-published", "textual-inversion", "dreambooth-lora", "custom-diffusion")
"""What is compared, in the order of the tables."""


def make_method(
    name: str, base: Path, settings: SamplingSettings, overrides: Mapping[str, Any] | None = None
) -> Method:
    """A method with its recipe for the base in folder `base`, single fields of it replaced by `overrides`.

    `vico` trains as `vico train` does without further options.

    Raises:
        RecipeError: no method of that name, or an override that its recipe does not have.
    """
    changes = dict(overrides or {})
    if name == PLAIN:
        return Plain(settings)
    if name == "textual-inversion":
        return TextualInversion(load_baseline_recipe(TextualInversionRecipe, name, changes), settings)
    if name == "dreambooth-lora":
        return DreamBoothLora(load_baseline_recipe(DreamBoothRecipe, name, changes), settings)
    if name == "custom-diffusion":
        return CustomDiffusion(load_baseline_recipe(CustomDiffusionRecipe, name, changes), settings)
    if name == OURS:
        return TwoStreams(name, load_recipe(None, base, **changes), settings)
    if name == "vico-fixed-context":
        return TwoStreams(name, load_recipe(None, base, **({"reference_context": "concept"} | changes)), settings)
    if name == "vico-published":
        return TwoStreams(name, load_recipe(str(RECIPES / f"{name}.toml"), base, **changes), settings)
    raise RecipeError("method", f"no method is called {name!r}", ", ".join(METHODS))
