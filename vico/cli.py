"""The command `vico`: gathers the commands of the rooms that are installed.

Exit codes of every command: 0 done; 1 refused or failed; 2 wrong usage; 130 interrupted with Ctrl-C (`serve` and
`gateway`, which Ctrl-C is there to end: 0). `vico concepts` has one more, 3: nobody answered.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated

import typer
from rich.console import Console

from vico.errors import VicoError

COMMANDS = "vico.commands"
"""Entry-point group: name = the command's name, value = a Typer-annotated function, or a Typer app of several."""

PANELS: dict[str, tuple[str, ...]] = {
    "Make a concept": ("train", "evaluate", "inspect", "verify", "import"),
    "Serve it": ("import-base", "export", "serve", "keys", "concepts"),
    "Ask for pictures": ("generate", "studio", "gateway", "verify-image", "loadtest"),
}
"""How `vico --help` groups the commands: in the order in which somebody new meets them."""
OTHERS = "More"
EXTRAS = {"generate": "cli", "keys": "serve", "concepts": "serve", "import": "train", "import-base": "train"}
"""What to install for a command whose extra has another name."""


def build_app(only: str | None = None) -> typer.Typer:
    """The Typer app with every installed room's command; a room whose libraries are absent says what to install.

    Args:
        only: the command that will run, so that the libraries of the others need not be loaded.
    """
    app = typer.Typer(name="vico", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback(context_settings={"help_option_names": ["-h", "--help"]})(_root)
    installed = {entry.name: entry for entry in entry_points(group=COMMANDS)}
    for name in _in_order(installed):
        if only not in installed or name == only:
            _add(app, installed[name])
    return app


def main() -> None:
    """Run the command line; a refusal is one line (with --json, one JSON object) and exit code 1, never a traceback."""
    arguments = sys.argv[1:]
    try:
        build_app(_first_word(arguments, os.environ))()
    except VicoError as error:
        _report(error, arguments)
        sys.exit(1)


def _first_word(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Of the command line, also of one that a shell wants completed."""
    typed = environment.get("COMP_WORDS") or environment.get("_TYPER_COMPLETE_ARGS") or ""
    words = typed.split()[1:] if "_VICO_COMPLETE" in environment else arguments
    return words[0] if words else None


def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=lambda on: _tell(on))
    ] = False,
) -> None:
    """Train a concept from photos, export a base, serve it with Triton, ask for pictures."""


def _tell(on: bool) -> None:
    if on:
        typer.echo(f"vico {version('vico')}")
        raise typer.Exit


def _in_order(names: Collection[str]) -> list[str]:
    known = [name for panel in PANELS.values() for name in panel]
    return [name for name in known if name in names] + sorted(name for name in names if name not in known)


def _panel(name: str) -> str:
    return next((panel for panel, names in PANELS.items() if name in names), OTHERS)


def _add(app: typer.Typer, entry: EntryPoint) -> None:
    try:
        command = entry.load()
    except ImportError as error:
        command = _absent(entry, error)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=entry.name, rich_help_panel=_panel(entry.name))
    else:
        app.command(entry.name, rich_help_panel=_panel(entry.name))(command)


def _absent(entry: EntryPoint, error: ImportError) -> Callable[[], None]:
    distribution = entry.dist.name if entry.dist else "vico"
    install = f"pip install '{distribution}[{EXTRAS.get(entry.name, entry.name)}]'"

    def command() -> None:
        raise VicoError(entry.name, f"the library {error.name!r} is not installed", install)

    command.__doc__ = f"Not installed: needs the library {error.name!r}."
    return command


def _report(error: VicoError, arguments: Sequence[str]) -> None:
    if "--json" not in arguments:
        Console(stderr=True, soft_wrap=True).print("[bold red]error[/]", end=" ")
        Console(stderr=True, soft_wrap=True).print(str(error), highlight=False, markup=False)
        return
    parts = {"problem": error.problem, "field": error.field, "hint": error.accepted or None}
    typer.echo(json.dumps({"error": {"type": type(error).__name__, "message": str(error), **parts}}))
