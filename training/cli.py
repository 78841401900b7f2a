"""`vico train`. Heavy libraries are imported when the command runs, so that `vico --help` is quick."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.job import TrainingJob


class DeviceChoice(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class PrecisionChoice(StrEnum):
    """Precision of the matrix products."""

    NO = "no"
    BF16 = "bf16"


def train(
    base: Annotated[Path, typer.Option(help="Base: a diffusers folder of Stable Diffusion 1.x.")],
    photos: Annotated[Path, typer.Option(help="Folder with 1 to 7 photos of the concept.")],
    init_word: Annotated[str, typer.Option(help="Word for the kind of thing, e.g. toy.")],
    out: Annotated[Path, typer.Option(help="Concept package to write, <id>.safetensors.")],
    concept_id: Annotated[
        str | None, typer.Option("--id", help="Id of the concept; default: the name of --out.")
    ] = None,
    placeholder: Annotated[str, typer.Option(help="What stands for the concept in prompts.")] = "*",
    recipe: Annotated[str | None, typer.Option(help="Shipped recipe or .toml file; default: the base's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps; default: the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows a step; default: the recipe's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal concepts.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint of the same run.")] = False,
    device: Annotated[DeviceChoice, typer.Option(help="Where to train.")] = DeviceChoice.AUTO,
    mixed_precision: Annotated[PrecisionChoice, typer.Option(help="no = float32.")] = PrecisionChoice.NO,
    gate: Annotated[
        bool, typer.Option("--gate", help="Evaluate; write the package only if its identity beats the plain base's.")
    ] = False,
    held_out: Annotated[
        Path | None, typer.Option(help="Photos of the thing that are not trained on, for --gate.")
    ] = None,
    encoders: Annotated[
        str | None, typer.Option(help="For --gate: of efficientnet-lite2, dinov2-saliency, clip=FOLDER, dino=FOLDER.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the photos, and consent of whoever is in them.")] = "",
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one event a line (training/events.py), refusals included.")
    ] = False,
    look: Annotated[
        bool,
        typer.Option("--look", help="Only say, as JSON, where in the photos the thing seems to be."),
    ] = False,
) -> None:
    """Train a concept from photos: writes a concept package and, beside it, a report to open in a browser."""
    from training.errors import TrainingError
    from training.events import Refused, as_line
    from vico.errors import VicoError

    try:
        from training.job import TrainingJob
        from training.recipe import load_recipe

        chosen = load_recipe(recipe, base, steps=steps, batch_size=batch_size)
        if out.suffix != ".safetensors":
            raise TrainingError("out", f"{out.name} is not a concept package", "a name that ends in .safetensors")
        job = TrainingJob(
            base=base,
            photos=photos,
            init_word=init_word,
            out=out,
            recipe=chosen,
            concept_id=concept_id or out.stem,
            placeholder=placeholder,
            seed=seed,
            resume=resume,
            device=device.value,
            mixed_precision=mixed_precision.value,
            licence=licence,
        )
        if look:
            _look(job)
        else:
            _train(job, held_out, encoders, gate=gate, json=json)
    except VicoError as error:
        if not (json or look):
            raise
        typer.echo(as_line(Refused(error.field, error.problem, error.accepted)))
        raise typer.Exit(1) from None


def _look(job: TrainingJob) -> None:
    from rich.console import Console

    from training.events import as_line
    from training.run import look_first

    look_first(job, Console(stderr=True), lambda event: typer.echo(as_line(event)))


def _train(job: TrainingJob, held_out: Path | None, encoders: str | None, *, gate: bool, json: bool) -> None:
    from rich.console import Console

    from training.evaluation.chosen import parse_choice
    from training.events import as_line, unwatched
    from training.gate import Gate
    from training.run import run_training

    accept = None
    if gate:
        accept = Gate(job, held_out, parse_choice(encoders))
        accept.require_ready()
    # standard output is the events' own
    watch = (lambda event: typer.echo(as_line(event))) if json else unwatched
    run_training(job, Console(stderr=json), accept, watch)
