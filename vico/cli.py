"""The command `vico`: gathers the commands of the rooms that are installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer
from rich.console import Console

from vico.errors import VicoError

COMMANDS = "vico.commands"
"""Entry-point group: name = the command's name, value = a Typer-annotated function, or a Typer app of several."""


def build_app() -> typer.Typer:
    """The Typer app with every installed room's command; a room whose libraries are absent says what to install."""
    app = typer.Typer(name="vico", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    for entry in sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name):
        _add(app, entry)
    return app


def main() -> None:
    """Run the command line; a refusal is one line on standard error and exit code 1, never a traceback."""
    try:
        build_app()()
    except VicoError as error:
        Console(stderr=True).print(f"[bold red]error[/] {error}", highlight=False)
        sys.exit(1)


def _root() -> None:
    """Train a concept from photos, export a base, serve it with Triton, ask for pictures."""


def _add(app: typer.Typer, entry: EntryPoint) -> None:
    try:
        command = entry.load()
    except ImportError as error:
        app.command(entry.name, help=f"Not installed: needs the library {error.name!r}.")(_absent(entry.name, error))
        return
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=entry.name)
    else:
        app.command(entry.name)(command)


def _absent(name: str, error: ImportError) -> Callable[[], None]:
    def command() -> None:
        raise VicoError(name, f"the library {error.name!r} is not installed", "pip install 'vico[train,export,serve]'")

    return command
