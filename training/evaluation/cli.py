"""`vico evaluate`. Heavy libraries are imported when the command runs, so that `vico --help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    base: Annotated[Path, typer.Option(help="Base: a diffusers folder of Stable Diffusion 1.x.")],
    concept: Annotated[Path, typer.Option(help="Concept package; the figures are written into it: new digest.")],
    photos: Annotated[
        Path, typer.Option(help="Photos it was trained on, or a folder with concepts.json (assets/photos).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for scores.json, scores.md and pictures.html.")],
    held_out: Annotated[Path | None, typer.Option(help="Other photos of the thing, not trained on.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="toy, sd or a .toml file; default: toy for a base with a judge, else sd.")
    ] = None,
    encoders: Annotated[
        str | None,
        typer.Option(help="Of efficientnet-lite2, dinov2-saliency (the default), clip=FOLDER, dino=FOLDER."),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Fail, package untouched, if identity does not beat the floor.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, nothing else.")] = False,
) -> None:
    """Measure a concept: identity beside floor and ceiling, retrieval, text, diversity, copying.

    Draws a fixed suite of prompts and seeds, writes scores.json, scores.md and pictures.html into --out, and the
    figures into the package's manifest. That changes the package's digest.
    """
    from json import dumps

    from rich.console import Console
    from rich.markdown import Markdown
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from training.evaluation.chosen import default_suite, parse_choice
    from training.evaluation.evaluate import EvaluationJob, run_evaluation
    from training.evaluation.page import figures, table
    from training.evaluation.suite import load_suite

    chosen = load_suite(suite) if suite else default_suite(base)
    job = EvaluationJob(base, concept, photos, held_out, chosen, parse_choice(encoders), out, gate)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=json) as progress:
        task = progress.add_task("pictures", total=2 * len(chosen.prompts) * len(chosen.seeds))
        evaluation = run_evaluation(job, lambda _: progress.advance(task))
    if json:
        typer.echo(dumps(figures(evaluation), indent=1))
    else:
        Console().print(Markdown(table(evaluation)))
