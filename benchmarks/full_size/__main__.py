"""`python -m benchmarks.full_size`: make a base of full size, and try to train on it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from vico.errors import VicoError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

_BASE = typer.Option(help="Base, as `make-base` writes it.")


@app.command()
def make_base(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    half: Annotated[bool, typer.Option("--fp16/--fp32", help="Precision on disk.")] = True,
    tiny: Annotated[bool, typer.Option(help="The same levels and sites, a thousandth of the weights.")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write the architecture of Stable Diffusion 1.5 with random weights."""
    from benchmarks.full_size.architecture import SD15, TINY
    from benchmarks.full_size.make_base import make_base as make

    parameters = make(out, TINY if tiny else SD15, half=half, seed=seed)
    typer.echo(f"wrote {out}: a U-Net of {parameters:,} parameters")


@app.command()
def train(
    base: Annotated[Path, _BASE],
    steps: Annotated[int, typer.Option(min=2)] = 3,
    size: Annotated[int, typer.Option(help="Pixels.")] = 512,
    batch_size: Annotated[int | None, typer.Option(help="Default: the recipe's.")] = None,
    recipe: Annotated[str, typer.Option()] = "sd15",
    json: Annotated[Path | None, typer.Option(help="Where to write the figures.")] = None,
    work: Annotated[Path | None, typer.Option(help="Where runs keep their files; default: a temporary folder.")] = None,
) -> None:
    """Train a few steps, then again with a kill before the last one and a resumption; exit code 1 if it fails."""
    from benchmarks.full_size.trial import Trial, try_out

    with tempfile.TemporaryDirectory(prefix="full-size-") as temporary:
        record = try_out(Trial(base, work or Path(temporary), size, steps, batch_size, recipe))
    for line in record.lines():
        typer.echo(line)
    if json is not None:
        record.write(json)
    if not record.passed:
        raise typer.Exit(1)


@app.command(hidden=True)
def once(
    base: Annotated[Path, _BASE],
    work: Annotated[Path, typer.Option()],
    out: Annotated[Path, typer.Option()],
    size: Annotated[int, typer.Option()],
    steps: Annotated[int, typer.Option()],
    recipe: Annotated[str, typer.Option()],
    batch_size: Annotated[int | None, typer.Option()] = None,
    resume: Annotated[bool, typer.Option()] = False,
) -> None:
    """One run, in a process of its own, so that its memory is measured alone and it can be killed."""
    from benchmarks.full_size.trial import Trial, run_once

    run_once(Trial(base, work, size, steps, batch_size, recipe), out, resume=resume)


if __name__ == "__main__":
    try:
        app()
    except VicoError as error:
        sys.exit(f"error: {error}")
