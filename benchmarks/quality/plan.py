"""Which pairs a comparison or an ablation is made of."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.quality.errors import QualityError
from benchmarks.quality.pair import Pair, Setting, concepts_in, require_concepts
from training.baselines.methods import METHODS, OURS, PLAIN

TUNING = ("teddy-bear", "rubiks-cube")
"""Concepts on which recipes were found; they are not reported."""
ABLATIONS = Path(__file__).with_name("ablations.toml")


class Ablation(BaseModel):
    """`vico` with single options changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 .,=_-]*$")]
    overrides: dict[str, Any] = {}
    """Of the recipe's fields."""
    photos: Annotated[int, Field(ge=1)] | None = None
    """Train on the first so many photos only."""


class AblationPlan(BaseModel):
    """The list in `ablations.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concepts: Annotated[tuple[str, ...], Field(min_length=2)]
    ablation: Annotated[tuple[Ablation, ...], Field(min_length=1)]


def comparison_pairs(setting: Setting, methods: Sequence[str] = (), concepts: Sequence[str] = ()) -> list[Pair]:
    """Concept by concept, the plain base first: all methods on all but the tuning concepts, or those that are named.

    Raises:
        QualityError: an unknown method or concept.
    """
    for method in methods:
        if method not in METHODS:
            raise QualityError("methods", f"there is no {method!r}", ", ".join(METHODS))
    require_concepts(setting.photos, concepts)
    chosen = concepts or [concept for concept in concepts_in(setting.photos) if concept not in TUNING]
    labels = (PLAIN, *(method for method in METHODS if not methods or method in methods))
    return [Pair(label, label, concept, setting) for concept in chosen for label in labels]


def ablation_pairs(setting: Setting, plan: AblationPlan) -> list[Pair]:
    """`vico` itself and every change of it, on the plan's concepts; what changes nothing is left out."""
    require_concepts(setting.photos, plan.concepts)
    pairs: list[Pair] = []
    for concept in plan.concepts:
        pairs += [Pair(label, label, concept, setting) for label in (PLAIN, OURS)]
        same = dict(pairs[-1].make().recipe)
        changed = [Pair(a.name, OURS, concept, setting, a.overrides, a.photos) for a in plan.ablation]
        pairs += [pair for pair in changed if pair.photos or dict(pair.make().recipe) != same]
    return pairs


def load_ablations(path: Path = ABLATIONS) -> AblationPlan:
    """Read a list of ablations.

    Raises:
        QualityError: it cannot be read, or names the field that is not as it must be.
    """
    try:
        plan = AblationPlan.model_validate(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise QualityError("ablations", f"{path.name} cannot be read ({error})", "a .toml file") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "ablations"
        raise QualityError(where, first["msg"], "concepts, and [[ablation]] with name, overrides, photos") from None
    names = [OURS, PLAIN, *(ablation.name for ablation in plan.ablation)]
    if len(set(names)) < len(names):
        raise QualityError("ablation.name", "a name is there twice or is a method's", "names that differ")
    return plan
