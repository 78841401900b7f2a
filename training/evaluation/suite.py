"""Prompt suites: which pictures an evaluation asks for, one TOML file each, fixed and committed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from training.errors import TrainingError
from training.evaluation.maker import SamplingSettings

SUITES = Path(__file__).parent / "suites"

Family = Literal["recontextualise", "restyle", "attribute", "with another object"]
FAMILIES: tuple[Family, ...] = get_args(Family)


class SuiteError(TrainingError):
    """A suite that is absent or malformed."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Prompt:
    """One prompt and what the text judge should find in its pictures."""

    family: Family
    template: Annotated[str, StringConstraints(min_length=2, max_length=300, pattern=r"^[^{}]*\{\}[^{}]*$")]
    """With {} once, where the thing is named."""
    expect: Annotated[str, StringConstraints(min_length=1)]
    """Key of the scene, style or colour, or name of the other object; what it may be is the judge's to say."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Suite:
    """Prompts x seeds, and how they are sampled."""

    name: str
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    settings: SamplingSettings


_ADAPTER = TypeAdapter(Suite)


def load_suite(name_or_path: str | Path) -> Suite:
    """The shipped suite of that name (toy, sd), or a .toml file.

    Raises:
        SuiteError: there is no such suite, or names the field that is missing, unknown or out of range.
    """
    content = _read(_locate(name_or_path))
    try:
        suite = _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "suite"
        raise SuiteError(field, f"{first['msg']} (suite {content.get('name', '?')!r})", _accepted()) from None
    if len(set(suite.seeds)) < len(suite.seeds):
        raise SuiteError("seeds", f"a seed is there twice (suite {suite.name!r})", "seeds that differ")
    return suite


def _locate(choice: str | Path) -> Path:
    if Path(choice).suffix == ".toml":
        return Path(choice)
    file = SUITES / f"{choice}.toml"
    if not file.is_file():
        raise SuiteError("suite", f"no suite is called {str(choice)!r}", f"{', '.join(shipped())}, or a .toml file")
    return file


def shipped() -> list[str]:
    """Names of the suites that come with the code."""
    return sorted(file.stem for file in SUITES.glob("*.toml"))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise SuiteError("suite", f"{file} cannot be read", "a .toml file, or the name of a shipped suite") from None
    except tomllib.TOMLDecodeError as error:
        raise SuiteError("suite", f"{file.name} is not TOML ({error})", "a .toml file") from None


def _accepted() -> str:
    return f"name, seeds, settings and prompts, each with template, expect and family ({', '.join(FAMILIES)})"
