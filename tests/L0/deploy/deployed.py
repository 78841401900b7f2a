"""What the image, compose and the chart say, in a form in which they can be compared."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
import yaml
from dockerfile_parse import DockerfileParser

from serving.cli import serve

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"

_APP = typer.Typer(add_completion=False)
_APP.command()(serve)
SERVE = typer.main.get_command(_APP)
OPTIONS = {option: parameter for parameter in SERVE.params for option in parameter.opts}


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Values of all of `vico serve`'s options.

    Raises:
        ClickException: it refuses the arguments.
    """
    values: dict[str, Any] = SERVE.make_context("serve", list(arguments)).params
    return values


def compose() -> dict[str, Any]:
    """The compose file, anchors resolved; variables as they are written."""
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return content


def compose_servers() -> dict[str, dict[str, Any]]:
    """The services that are `vico serve`, by profile."""
    return {profile: s for s in compose()["services"].values() for profile in s.get("profiles", ())}


@dataclass
class Stage:
    """One stage of the Dockerfile: its instructions in order."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """What follows each instruction of a kind."""
        return [value for name, value in self.instructions if name == instruction]

    def one(self, instruction: str) -> str:
        """What follows the only instruction of a kind."""
        [value] = self.all(instruction)
        return value


def dockerfile() -> tuple[dict[str, str], dict[str, Stage]]:
    """The defaults of its arguments; its stages by name."""
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for name, value in _instructions():
        if name == "FROM":
            base, _, stage = value.partition(" AS ")
            stages[stage] = Stage(stage, base)
        elif stages:
            list(stages.values())[-1].instructions.append((name, value))
        else:
            argument, _, default = value.partition("=")
            arguments[argument] = default
    return arguments, stages


def _instructions() -> Iterator[tuple[str, str]]:
    parser = DockerfileParser(fileobj=io.BytesIO((DEPLOY / "Dockerfile").read_bytes()))
    for item in parser.structure:
        if item["instruction"] != "COMMENT":
            yield item["instruction"], item["value"]
