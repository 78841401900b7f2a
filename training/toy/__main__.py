"""Commands that make the toy base: ``python -m training.toy COMMAND``.

Every command keeps what it made in the work folder and goes on from there; each tells what it lacks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.toy import stages
from training.toy.adopt import adopt_base
from training.toy.paths import BASE, DEFAULT_WORK, LOOK_ALIKES, PHOTOS, TUNING_PHOTOS, Work
from training.toy.vocabulary import HELD_OUT, TUNING

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)

WorkOption = Annotated[Path, typer.Option("--work", help="Folder of caches and checkpoints.")]
BaseOption = Annotated[Path, typer.Option("--base", help="Folder of the base.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder to write to.")]


@app.command()
def data(
    work: WorkOption = DEFAULT_WORK, shards: Annotated[int, typer.Option(help="Of 2,000 pictures each.")] = 30
) -> None:
    """Obtain the sources, render the cut-outs, train the tokenizer, draw the training pictures."""
    stages.make_data(Work(work), shards)


@app.command()
def adopt(work: WorkOption = DEFAULT_WORK, base: BaseOption = BASE) -> None:
    """Fill an empty work folder from a base, so that its training goes on elsewhere; run before `vae` and `unet`."""
    adopt_base(base, Work(work))


@app.command()
def vae(
    work: WorkOption = DEFAULT_WORK,
    steps: Annotated[int, typer.Option(help="Batches of 8 in all.")] = 560,
    decoder_steps: Annotated[int, typer.Option(help="Batches for the decoder alone, afterwards.")] = 0,
) -> None:
    """Train the image coder and code the training pictures."""
    stages.make_vae(Work(work), steps, decoder_steps)


@app.command()
def unet(
    work: WorkOption = DEFAULT_WORK,
    minutes: Annotated[float, typer.Option(help="Time to train in this run.")] = 60.0,
    pictures: Annotated[
        int, typer.Option(help="Pictures to see over all runs: sets the learning rate's fall.")
    ] = 72_000,
    processes: Annotated[int, typer.Option(min=1, help="Processes of one thread that share the work.")] = 2,
) -> None:
    """Train the denoiser and the text encoder for a while; run again to go on."""
    stages.make_unet(Work(work), minutes, pictures, processes)


@app.command()
def judge(
    work: WorkOption = DEFAULT_WORK, steps: Annotated[int, typer.Option(help="Batches of 64 in all.")] = 500
) -> None:
    """Train the classifier that scores pictures."""
    stages.make_judge(Work(work), steps)


@app.command()
def score(work: WorkOption = DEFAULT_WORK, base: BaseOption = BASE) -> None:
    """Score a base on held-out prompts: score.json, score-history.json and .png, grid.png in its folder."""
    stages.make_score(Work(work), base)


@app.command()
def photos(work: WorkOption = DEFAULT_WORK, out: OutOption = PHOTOS) -> None:
    """Render the sample photos of the held-out objects."""
    stages.make_photos(Work(work), out, HELD_OUT, "python -m training.toy photos")


@app.command()
def tuning_photos(work: WorkOption = DEFAULT_WORK, out: OutOption = TUNING_PHOTOS) -> None:
    """Render photos of the objects on which recipes are found."""
    stages.make_photos(Work(work), out, TUNING, "python -m training.toy tuning-photos")


@app.command()
def probe(work: WorkOption = DEFAULT_WORK, base: BaseOption = BASE) -> None:
    """Train what names style, colour and second object in an evaluation: judge-probe.safetensors and .json."""
    stages.make_probe(Work(work), base)


@app.command()
def look_alikes(work: WorkOption = DEFAULT_WORK, out: OutOption = LOOK_ALIKES) -> None:
    """Draw the world's objects of the same kinds as the held-out ones, for the gallery of an evaluation."""
    stages.make_look_alikes(Work(work), out)


@app.command()
def export(work: WorkOption = DEFAULT_WORK, out: OutOption = BASE) -> None:
    """Write the base (moving average, fp16, diffusers layout) with its attributions and training curves."""
    stages.make_export(Work(work), out)


if __name__ == "__main__":
    app()
