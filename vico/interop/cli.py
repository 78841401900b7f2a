"""`vico inspect` and `vico verify`: neither needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FILE = typer.Argument(help="Concept package, <id>.safetensors.")


def inspect(
    file: Annotated[Path, _FILE],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Show what is in a concept package: manifest, sizes, recipe, evaluation, preview."""
    import json

    from rich.console import Console

    from vico.concept import read_package
    from vico.errors import ConceptError
    from vico.interop.report import describe, show

    try:
        package = read_package(file)
    except OSError:
        raise ConceptError("file", f"{file.name} cannot be read", "a concept package") from None
    if as_json:
        typer.echo(json.dumps(describe(file, package), indent=2, ensure_ascii=False))
    else:
        show(Console(), file, package)


def verify(
    file: Annotated[Path, _FILE],
    base: Annotated[Path | None, typer.Option(help="Base that the concept must belong to.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Check a concept package: exit code 0 if it is whole and fits, 1 if anything is wrong with it."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from vico.interop.checks import check_package

    checks = check_package(file, base)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        console = Console()
        for check in checks:
            mark = "[red]FAILED[/]" if check.problem else "[green]ok[/]    "
            console.print(f"{mark} {check.name}", end="  ")
            console.print(check.problem, markup=False, highlight=False)
    if any(check.problem for check in checks):
        raise typer.Exit(1)


def import_base(
    file: Annotated[Path, typer.Argument(help="Single-file .safetensors checkpoint of Stable Diffusion 1.x.")],
    out: Annotated[Path, typer.Option(help="Folder to write: the base for every other command.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="CLIP tokenizer; default: tokenizer/ beside FILE, else open_clip_torch's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Make a base folder of a single-file checkpoint, offline."""
    import json

    from rich.console import Console

    from vico.interop.single_file import import_base as convert

    convert(file, out, tokenizer)
    if as_json:
        typer.echo(json.dumps({"out": str(out)}))
    else:
        Console().print(f"wrote {out}", highlight=False)
