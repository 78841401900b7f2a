"""What the shell offers for an option while it is typed. Whatever fails offers nothing: nobody is asked to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from vico_client.client import Client
from vico_client.errors import VicoClientError
from vico_client.retry import Retry
from vico_client.settings import DEFAULT_ADDRESS

_SECONDS = 2.0


def words(*known: str) -> Callable[[str], list[str]]:
    """Of a fixed list."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def concepts(context: typer.Context, incomplete: str) -> list[str]:
    """The concepts of the server that the command line names so far, or the environment."""
    if set(incomplete) & set("*?"):
        return []
    given: dict[str, Any] = context.params
    try:
        address = given.get("address") or DEFAULT_ADDRESS
        with Client(address, timeout=_SECONDS, retry=Retry(attempts=1)) as client:
            return [concept.name for concept in client.concepts(f"{incomplete}*")]
    except (VicoClientError, OSError):
        return []
