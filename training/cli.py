"""`vico train`. Heavy libraries are imported when the command runs, so that `vico --help` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from training import options as o

if TYPE_CHECKING:
    from training.job import TrainingJob


def train(
    context: typer.Context,
    base: o.Base,
    photos: o.Photos,
    init_word: o.InitWord,
    out: o.Out,
    concept_id: o.ConceptId = None,
    placeholder: o.Placeholder = "*",
    recipe: o.RecipeName = None,
    steps: o.Steps = None,
    batch_size: o.BatchSize = None,
    seed: o.Seed = 0,
    resume: o.Resume = False,
    device: o.Device = o.DeviceChoice.AUTO,
    mixed_precision: o.MixedPrecision = o.PrecisionChoice.NO,
    gate: o.GateOption = False,
    held_out: o.HeldOut = None,
    encoders: o.Encoders = None,
    licence: o.Licence = "",
    json: o.AsJson = False,
    look: o.Look = False,
) -> None:
    """Train a concept from photos: writes a concept package and, beside it, a report to open in a browser."""
    from training.events import Refused, as_line
    from vico.errors import VicoError

    try:
        job = _job(context.params)
        if look:
            _look(job)
        else:
            _train(job, held_out, encoders, gate=gate, json=json)
    except VicoError as error:
        if not (json or look):
            raise
        typer.echo(as_line(Refused(error.field, error.problem, error.accepted)))
        raise typer.Exit(1) from None


def _job(given: Mapping[str, Any]) -> TrainingJob:
    """given: the command's parameters by name."""
    from dataclasses import fields

    from training.errors import TrainingError
    from training.job import TrainingJob
    from training.recipe import load_recipe

    out: Path = given["out"]
    recipe = load_recipe(given["recipe"], given["base"], steps=given["steps"], batch_size=given["batch_size"])
    if out.suffix != ".safetensors":
        raise TrainingError("out", f"{out.name} is not a concept package", "a name that ends in .safetensors")
    named = {spec.name: given[spec.name] for spec in fields(TrainingJob)}
    choices = {name: named[name].value for name in ("device", "mixed_precision")}
    return TrainingJob(**{**named, **choices, "recipe": recipe, "concept_id": given["concept_id"] or out.stem})


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
