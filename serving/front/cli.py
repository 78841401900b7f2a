"""`vico keys`."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from serving.errors import LaunchError
from serving.front.keys import Key, hashed, make_key, read_keys, write_keys


class Action(StrEnum):
    """What to do with the file."""

    ADD = "add"
    LIST = "list"
    REVOKE = "revoke"


def keys(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    file: Annotated[Path, typer.Option(help="The file that `vico serve --keys` reads; it counts at once.")],
    client: Annotated[str, typer.Option(help="Whose key it is; one client may have several.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose concepts the client uses; the client itself if left out.")] = "",
    concept: Annotated[
        list[str] | None, typer.Option(help="Pattern of concept ids that the client sees, e.g. 'acme-*'; repeatable.")
    ] = None,
    requests_per_minute: Annotated[float | None, typer.Option(help="Unlimited if left out.")] = None,
    users: Annotated[
        bool, typer.Option("--users", help="An application's key: each of its users has a client's share of the queue.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """API keys of a server: a new one is shown once, the file keeps its hash; revoking takes all of a client's."""
    known = read_keys(file) if file.exists() or action is not Action.ADD else ()
    console = Console(soft_wrap=True, highlight=False)
    if action is Action.LIST:
        if as_json:
            typer.echo(json.dumps([_public(key) for key in known]))
        else:
            console.print(_table(known))
        return
    if not client:
        raise LaunchError("client", "missing", "a name: a-z, 0-9 and . _ -")
    if action is Action.REVOKE:
        kept = [key for key in known if key.client != client]
        if len(kept) == len(known):
            raise LaunchError("client", f"{client!r} has no key", ", ".join(sorted({key.client for key in known})))
        write_keys(file, kept)
        return
    shown = make_key()
    try:
        fresh = Key(
            client=client,
            tenant=tenant or client,
            sha256=hashed(shown),
            concepts=tuple(concept or ["*"]),
            requests_per_minute=requests_per_minute,
            users=users,
        )
    except ValidationError as error:
        raise LaunchError(str(error.errors()[0]["loc"][0]), "malformed", "see `vico keys --help`") from None
    write_keys(file, [*known, fresh])
    if as_json:
        typer.echo(json.dumps({"key": shown, **_public(fresh)}))
    else:
        console.print(shown)


def _public(key: Key) -> dict[str, Any]:
    """All but the whole hash."""
    return {**asdict(key), "sha256": key.sha256[:8]}


def _table(known: tuple[Key, ...]) -> Table:
    table = Table("client", "tenant", "concepts", "requests a minute", "SHA-256 begins with")
    for key in known:
        rate = "unlimited" if key.requests_per_minute is None else f"{key.requests_per_minute:g}"
        table.add_row(key.client, key.tenant, " ".join(key.concepts), rate, key.sha256[:8])
    return table
