"""The command `vico-client`: the commands of this distribution alone, where the root distribution's `vico` is not."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

try:
    import typer
except ImportError:
    raise SystemExit("error: the command line needs typer and rich: pip install 'vico-client[cli]'") from None


_EXTRAS = {"generate": "cli", "gateway": "gateway", "loadtest": "loadtest"}


def main() -> None:
    """Run the command line."""
    build_app()()


def build_app() -> typer.Typer:
    """The Typer app with every command of this distribution; one whose libraries are absent says what to install."""
    app = typer.Typer(name="vico-client", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    for entry in _commands():
        try:
            command = entry.load()
        except ImportError as error:
            command = _absent(entry.name, error.name or "")
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return app


def _commands() -> list[EntryPoint]:
    found = entry_points()
    # Python 3.9 knows no `select`
    group = found.select(group="vico.commands") if hasattr(found, "select") else found["vico.commands"]
    return sorted((entry for entry in group if entry.value.startswith("vico_client.")), key=lambda entry: entry.name)


def _absent(name: str, library: str) -> typer.Typer:
    absent = typer.Typer(invoke_without_command=True, help=f"Not installed: needs the library {library!r}.")

    @absent.callback()
    def say() -> None:
        typer.echo(f"error: {name} needs the library {library!r}: pip install 'vico-client[{_EXTRAS[name]}]'", err=True)
        raise typer.Exit(1)

    return absent


def _root() -> None:
    """Ask a ViCo server for pictures, and load it."""


if __name__ == "__main__":
    main()
