"""`python -m benchmarks.two_concepts`."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.two_concepts.plan import PAIRS, Plan, parse_pairs, require_known
from vico.concept.atomic import write_atomically

_console = Console(stderr=True)


def main(
    json: Annotated[Path, typer.Option("--json", help="The result file.")],
    png: Annotated[Path, typer.Option("--png", help="One picture of all pairs.")],
    base: Annotated[Path, typer.Option()] = Path("assets/toy-base"),
    photos: Annotated[Path, typer.Option(help="Folder with concepts.json and photos.")] = Path("assets/photos"),
    pairs: Annotated[str, typer.Option(help=f"a+b,c+d; default: the {len(PAIRS)} of the plan.")] = "",
    seeds: Annotated[int, typer.Option(min=1, max=8, help="Pictures of every scene.")] = 4,
    steps: Annotated[int, typer.Option(min=0, help="Of training; 0 = the recipe's. For a quick look.")] = 0,
    work: Annotated[Path, typer.Option(help="Trained concepts and finished pairs.")] = Path(".quality-cache/two"),
    threads: Annotated[int, typer.Option(min=0, help="0 = as torch chooses.")] = 1,
) -> None:
    """Train each concept once, draw both of each pair in one picture, hold both identities against their floors."""
    import torch

    from benchmarks.two_concepts.concepts import trained
    from benchmarks.two_concepts.measure import draw_pair, score_pair, summary
    from benchmarks.two_concepts.page import write_page
    from benchmarks.two_concepts.store import load_pair, pair_folder, save_pair
    from training.evaluation.efficientnet import EfficientNetLite2
    from training.evaluation.subject import load_subjects
    from training.recipe import load_recipe
    from vico.base import load_base

    if threads:
        torch.set_num_threads(threads)
    loaded, encoder = load_base(base), EfficientNetLite2()
    subjects = {subject.id: subject for subject in load_subjects(photos, loaded.default_size)}
    plan = Plan(pairs=parse_pairs(pairs), seeds=seeds)
    require_known(plan, subjects)
    recipe = load_recipe(None, base, steps=steps or None)
    records: list[dict[str, Any]] = []
    rows = []
    for pair in plan.pairs:
        both = subjects[pair[0]], subjects[pair[1]]
        concepts = [trained(loaded, photos, subject, recipe, work, _console) for subject in both]
        folder = pair_folder(work, plan, pair, "+".join(concept.digest for concept in concepts))
        drawn = load_pair(folder)
        if drawn is None:
            drawn = draw_pair(loaded, plan, both, [concept.loaded for concept in concepts])
            save_pair(folder, drawn)
        records.append({"pair": pair, **score_pair(loaded, encoder, both, drawn)})
        rows.append((both, drawn))
        settings = {
            **asdict(plan.settings),
            "scenes": plan.scenes,
            "seeds": plan.seeds,
            "training_steps": recipe.steps,
            "encoder": encoder.name,
        }
        _write(json, {"summary": summary(records), "settings": settings, "pairs": records})
        write_page(png, plan, rows)
        _console.print(_line(records[-1]), highlight=False)
    typer.echo(json_module.dumps(summary(records)))


def _line(record: dict[str, Any]) -> str:
    sides = [
        f"{s['concept']} {s['identity']:.3f} (floor {s['floor']:.3f}, ceiling {s['ceiling']:.3f})"
        for s in record["concepts"]
    ]
    return f"{', '.join(sides)}: {'both above' if record['both_above'] else 'not both above'}"


def _write(path: Path, content: dict[str, Any]) -> None:
    """Saved after every pair."""
    write_atomically(path, json_module.dumps(content, indent=1).encode() + b"\n")


if __name__ == "__main__":
    typer.run(main)
