"""`python -m benchmarks.presets`."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.presets.measure import CANDIDATES, REFERENCE, Judges, Subject, Tally, measure_prompt, rows_asked
from benchmarks.presets.report import write_report
from vico.concept.atomic import write_atomically

_console = Console(stderr=True)


def main(
    json: Annotated[Path, typer.Option("--json", help="The result file.")],
    base: Annotated[Path, typer.Option()] = Path("assets/toy-base"),
    suite: Annotated[str, typer.Option(help="A suite of training/evaluation.")] = "toy",
    concept: Annotated[Path | None, typer.Option(help="A concept package: pictures of it instead of --word.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Photos of the concept, for identity.")] = None,
    word: Annotated[str, typer.Option(help="The thing that prompts name.")] = "dog",
    prompts: Annotated[int, typer.Option(help="Only the first so many; 0 = all.", min=0)] = 0,
    images: Annotated[int, typer.Option(help="Pictures a prompt.", min=1)] = 4,
    threads: Annotated[int, typer.Option(min=0, help="0 = as torch chooses.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write the table into this page.")] = None,
) -> None:
    """Draw a suite with every preset from the same noise; hold it against 25 steps, and time it side by side."""
    import torch

    from training.evaluation.efficientnet import EfficientNetLite2
    from training.evaluation.suite import load_suite
    from training.evaluation.text import load_toy_judge
    from vico.base import load_base
    from vico.pipeline import PictureRequest
    from vico.sampling import make_plan

    if threads:
        torch.set_num_threads(threads)
    loaded, chosen = load_base(base), load_suite(suite)
    judges = Judges(EfficientNetLite2(), load_toy_judge(base) if suite == "toy" else None)
    subject = _subject(loaded, concept, photos, word)
    tallies: dict[str, Tally] = {}
    asked = chosen.prompts[: prompts or None]
    for seed, prompt in enumerate(track(asked, "prompts", console=_console)):
        request = PictureRequest(
            "", seed=seed, guidance_scale=chosen.settings.guidance_scale, num_images=images
        )  # fmt: skip
        measure_prompt(loaded, subject, prompt, request, judges, tallies)
        _write(json, base, chosen.settings.guidance_scale, seed + 1, tallies)
    rows = {
        name: rows_asked(p, [s.noise_level for s in make_plan(p.sampler, p.steps, loaded.schedule).steps])
        for name, p in CANDIDATES.items()
    }
    text = write_report(json_module.loads(json.read_text()), rows, report)
    typer.echo(text)


def _subject(base: Any, concept: Path | None, photos: Path | None, word: str) -> Subject:
    if concept is None:
        return Subject(word)
    from training.photos import load_photos
    from vico.concept import read_package
    from vico.loaded_concept import load_concept

    loaded = load_concept(base, read_package(concept))
    pictures = () if photos is None else tuple(photo.picture for photo in load_photos(photos, base.default_size))
    return Subject(loaded.placeholder, loaded, pictures)


def _write(json: Path, base: Path, scale: float, prompts: int, tallies: dict[str, Tally]) -> None:
    """Saved after every prompt."""
    content = {
        "settings": {"base": base.name, "guidance_scale": scale, "prompts": prompts, "reference": REFERENCE},
        "candidates": {name: tally.to_json() for name, tally in tallies.items()},
    }
    write_atomically(json, json_module.dumps(content, indent=1).encode() + b"\n")


if __name__ == "__main__":
    typer.run(main)
