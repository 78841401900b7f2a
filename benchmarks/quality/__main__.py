"""`python -m benchmarks.quality`."""

from __future__ import annotations

import sys

from rich.console import Console

from benchmarks.quality.cli import app
from vico.errors import VicoError

if __name__ == "__main__":
    try:
        app()
    except VicoError as error:
        Console(stderr=True).print(f"[bold red]error[/] {error}", highlight=False)
        sys.exit(1)
