"""How a command ends: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted; never with a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from vico_client.errors import VicoClientError

FAILED, USAGE, INTERRUPTED = 1, 2, 130


@contextmanager
def exit_codes(*, as_json: bool = False, usage: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Errors of the block as one line, or one JSON object, and an exit code; `usage`: classes that are code 2."""
    try:
        yield
    except (VicoClientError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        report_error(error, as_json=as_json)
        raise typer.Exit(USAGE if isinstance(error, usage) else FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def report_error(error: Exception, *, as_json: bool) -> None:
    """One line on standard error, or one JSON object on standard output."""
    if not as_json:
        typer.secho(f"error: {error}", fg="red", err=True)
        return
    names = ("problem", "field", "hint", "status", "request_id")
    parts = {name: getattr(error, name, None) for name in names}
    typer.echo(json.dumps({"error": {"type": type(error).__name__, "message": str(error), **parts}}))
