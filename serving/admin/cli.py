"""`vico concepts …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from serving.admin.client import Commander, Direct, Remote
from serving.admin.concepts import ConceptAdmin
from serving.concepts.opening import open_source
from serving.config import registry_place
from serving.errors import InvalidField, RegistryUnreachable
from serving.secret_file import read_secret

UNREACHABLE = 3
"""Exit code: nobody answered. 0: done; 1: refused; 2: not a command."""
MIB = 2**20

concepts = typer.Typer(no_args_is_help=True, help="See and steer the concepts of a registry, for every server on it.")


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the ids in the folder that `--registry` names; nobody waits for a server or an object store."""
    parent = context.parent.params if context.parent else {}
    folder = Path(parent.get("registry") or "/nonexistent")
    return sorted(file.stem for file in folder.glob("*.safetensors") if file.stem.startswith(incomplete))


_NAME = typer.Argument(help="id, id@digest or an alias.", autocompletion=_names)
Name = Annotated[str, _NAME]


@concepts.callback()
def where(
    context: typer.Context,
    registry: Annotated[str | None, typer.Option(help="Folder or URL: work on the registry itself.")] = None,
    server: Annotated[str, typer.Option(envvar="VICO_ADMIN", help="A server's admin service.")] = "127.0.0.1:8003",
    secret_file: Annotated[
        Path | None, typer.Option(envvar="VICO_ADMIN_SECRET_FILE", help="As given to `vico serve`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Where the commands go."""
    context.obj = _Session(_commander(registry, server, secret_file), as_json)


@concepts.command("list")
def list_(context: typer.Context) -> None:
    """All concepts and aliases."""
    session: _Session = context.obj
    found = session.ask("List")
    if session.as_json:
        return session.echo(found)
    table = Table("name", "version", "stands for", "MiB", "base", "state", "problem")
    for row in found["concepts"]:
        state = ", ".join(word for word in ("pinned", "prefetched") if row[word])
        size = f"{row['size_bytes'] / MIB:.1f}"
        table.add_row(row["name"], row["digest"][:12], row["alias_of"], size, row["base"], state, row["error"])
    return Console().print(table)


@concepts.command()
def describe(context: typer.Context, name: Name) -> None:
    """All that is known of what a name stands for."""
    session: _Session = context.obj
    found = session.ask("Describe", name=name)
    if session.as_json:
        return session.echo(found)
    table = Table(show_header=False, box=None)
    for key, value in found.items():
        if value or isinstance(value, bool):
            table.add_row(f"[bold]{key}[/]", _shown(value))
    return Console().print(table)


@concepts.command()
def prefetch(context: typer.Context, name: Name) -> None:
    """Load it everywhere before it is asked for."""
    context.obj.change("Prefetch", name=name)


@concepts.command()
def pin(context: typer.Context, name: Name) -> None:
    """Keep it in memory and in a slot, everywhere."""
    context.obj.change("Pin", name=name)


@concepts.command()
def unpin(context: typer.Context, name: Name) -> None:
    """Take `pin` and `prefetch` back."""
    context.obj.change("Unpin", name=name)


@concepts.command()
def alias(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The alias.")],
    target: Annotated[str, typer.Argument(help="id, id@digest or an alias: the version that it is now.")],
) -> None:
    """Let a name stand for one version, from the next request on."""
    context.obj.change("Alias", name=name, target=target)


@concepts.command()
def unalias(context: typer.Context, name: Annotated[str, typer.Argument(help="The alias.")]) -> None:
    """Forget an alias."""
    context.obj.change("Unalias", name=name)


@concepts.command()
def rollback(context: typer.Context, name: Annotated[str, typer.Argument(help="The alias.")]) -> None:
    """Let an alias stand for what it stood for before."""
    context.obj.change("Rollback", name=name)


@concepts.command()
def remove(
    context: typer.Context, name: Annotated[str, typer.Argument(help="id: all versions; id@digest: that one.")]
) -> None:
    """Delete it from the registry, and forbid every server its use."""
    context.obj.change("Remove", name=name)


@concepts.command()
def restore(context: typer.Context, digest: Annotated[str, typer.Argument(help="Of a removed version.")]) -> None:
    """Allow a removed version again; its file must be put back."""
    context.obj.change("Restore", digest=digest)


class _Session:
    """How one call of the command line asks and answers."""

    def __init__(self, commander: Commander, as_json: bool) -> None:
        self._commander = commander
        self.as_json = as_json

    def ask(self, command: str, **body: str) -> dict[str, Any]:
        """The answer. Raises VicoError: refused; Exit: nobody answered."""
        try:
            return self._commander(command, **body)
        except RegistryUnreachable as error:
            Console(stderr=True).print(f"[bold red]error[/] {error}", highlight=False)
            raise typer.Exit(UNREACHABLE) from None

    def change(self, command: str, **body: str) -> None:
        """Ask, and say at which revision it is done."""
        done = self.ask(command, **body)
        if self.as_json:
            return self.echo(done)
        return Console().print(f"revision {done['revision']}", highlight=False)

    def echo(self, content: dict[str, Any]) -> None:
        """As JSON."""
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _commander(registry: str | None, server: str, secret_file: Path | None) -> Commander:
    if registry is not None:
        return Direct(ConceptAdmin(open_source(registry_place(registry))))
    if secret_file is None:
        raise InvalidField("secret-file", "not given", "--secret-file FILE with --server, or --registry FOLDER")
    return Remote(server, read_secret(secret_file))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
