"""Commands of the comparison. `run` and `ablate` take hours and go on where they were stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.quality.pair import Pair, Setting, concepts_in
from benchmarks.quality.plan import ABLATIONS, ablation_pairs, comparison_pairs, load_ablations
from benchmarks.quality.records import write_records
from benchmarks.quality.report import Scored, score_pairs, write_report
from benchmarks.quality.scoring import make_scorer, read_subjects
from benchmarks.quality.store import Store
from benchmarks.quality.strength import CONCEPTS, STRENGTHS, plot, run_strengths, strength_pairs, strength_table
from benchmarks.quality.tables import comparison_table
from benchmarks.quality.texts import ablation_text, comparison_text, strength_text
from benchmarks.quality.tune import parse_changes, tuning_pairs
from benchmarks.quality.work import pool, run_pairs
from training.baselines.methods import PLAIN
from vico.concept.atomic import write_atomically

ROOT = Path(__file__).parents[2]
app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()

Base = Annotated[Path, typer.Option(help="Base: a diffusers folder.")]
Photos = Annotated[Path, typer.Option(help="Folder with concepts.json and photos.")]
SuiteName = Annotated[str, typer.Option(help="Prompt suite: a shipped one or a .toml file.")]
Seconds = Annotated[
    float,
    typer.Option(min=0, help="Training time of every method: CPU seconds of a thread, or wall-clock with CUDA."),
]
Seed = Annotated[int, typer.Option(min=0)]
Work = Annotated[Path, typer.Option(help="Folder of finished pairs.")]
Out = Annotated[Path, typer.Option(help="Folder of the report.")]
Methods = Annotated[str, typer.Option(help="Comma-separated; default: all.")]
Concepts = Annotated[str, typer.Option(help="Comma-separated; default: all but the tuning concepts.")]
Processes = Annotated[int, typer.Option(min=1, help="Pairs at a time, one thread each.")]

BASE, PHOTOS, SUITE, SECONDS, WORK = (
    ROOT / "assets/toy-base",
    ROOT / "assets/photos",
    "toy",
    180.0,
    Path(".quality-cache"),
)
TUNING_PHOTOS = ROOT / "assets/tuning-photos"
"""Of things that no comparison reports."""


@app.command()
def run(
    methods: Methods = "",
    concepts: Concepts = "",
    base: Base = BASE,
    photos: Photos = PHOTOS,
    suite: SuiteName = SUITE,
    seconds: Seconds = SECONDS,
    seed: Seed = 0,
    work: Work = WORK,
    processes: Processes = 2,
) -> None:
    """Train every method on every concept and draw the suite; finished pairs are skipped."""
    setting = Setting(base, photos, suite, seconds, seed)
    run_pairs(comparison_pairs(setting, _listed(methods), _listed(concepts)), Store(work), console, pool(processes))


@app.command()
def report(
    methods: Methods = "",
    concepts: Concepts = "",
    base: Base = BASE,
    photos: Photos = PHOTOS,
    suite: SuiteName = SUITE,
    seconds: Seconds = SECONDS,
    seed: Seed = 0,
    work: Work = WORK,
    out: Out = ROOT / "docs",
) -> None:
    """Score finished pairs; writes quality.json, quality.md and quality.png. Give the options that `run` was given."""
    setting = Setting(base, photos, suite, seconds, seed)
    pairs = comparison_pairs(setting, _listed(methods), _listed(concepts))
    scored = _score(pairs, Store(work))
    write_report(out, "quality", scored, read_subjects(setting), comparison_text(pairs))
    console.print(Markdown(comparison_table(scored.records, scored.records[0].method)))


@app.command()
def ablate(
    ablations: Annotated[Path, typer.Option(help="List of changes.")] = ABLATIONS,
    base: Base = BASE,
    photos: Photos = PHOTOS,
    suite: SuiteName = SUITE,
    seconds: Seconds = SECONDS,
    seed: Seed = 0,
    work: Work = WORK,
    processes: Processes = 2,
    out: Out = ROOT / "docs",
) -> None:
    """Train `vico` with single options changed, and score; writes quality-ablations.json, .md and .png."""
    setting = Setting(base, photos, suite, seconds, seed)
    pairs = ablation_pairs(setting, load_ablations(ablations))
    run_pairs(pairs, Store(work), console, pool(processes))
    scored = _score(pairs, Store(work))
    write_report(out, "quality-ablations", scored, read_subjects(setting), ablation_text(pairs))
    console.print(Markdown(comparison_table(scored.records, scored.records[0].method)))


@app.command()
def strength(
    concepts: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(CONCEPTS),
    base: Base = BASE,
    photos: Photos = PHOTOS,
    suite: SuiteName = SUITE,
    seconds: Seconds = SECONDS,
    seed: Seed = 0,
    work: Work = WORK,
    processes: Processes = 2,
    out: Out = ROOT / "docs",
) -> None:
    """Train `vico` once a concept and draw the suite at every strength; writes strength.json, .md and .png."""
    pairs = strength_pairs(Setting(base, photos, suite, seconds, seed), _listed(concepts))
    run_pairs([pair for pair in pairs if pair.method == PLAIN], Store(work), console, pool(processes))
    last = [pair for pair in pairs if pair.image_guidance == STRENGTHS[-1]]
    run_pairs(last, Store(work), console, pool(processes), run_strengths)
    records = _score(pairs, Store(work)).records
    write_records(out / "strength.json", records)
    write_atomically(out / "strength.png", plot(records))
    write_atomically(out / "strength.md", strength_text(pairs, strength_table(records)).encode())
    console.print(Markdown(strength_table(records)))


@app.command()
def tune(
    method: Annotated[str, typer.Option(help="Whose recipe is tried.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="field=value of the recipe; may be repeated.")
    ] = None,
    concepts: Annotated[str, typer.Option(help="Comma-separated; default: all.")] = "",
    base: Base = BASE,
    photos: Photos = TUNING_PHOTOS,
    suite: SuiteName = SUITE,
    seconds: Seconds = SECONDS,
    seed: Seed = 0,
    work: Work = WORK,
    processes: Processes = 2,
) -> None:
    """Try values of a recipe on the tuning concepts and print the figures; pictures stay in the work folder."""
    setting = Setting(base, photos, suite, seconds, seed)
    chosen = _listed(concepts) or concepts_in(photos)
    pairs = tuning_pairs(setting, method, chosen, parse_changes(changes or []))
    run_pairs(pairs, Store(work), console, pool(processes))
    for record in _score(pairs, Store(work)).records:
        console.print(
            f"{record.method} {record.concept} {' '.join(changes or [])}: closed {record.closed:.2f},"
            f" identity {record.identity_crop:.3f} ({record.identity_floor:.3f} to {record.identity_ceiling:.3f}),"
            f" mAP {record.retrieval_map:.2f}, text {record.text:.3f}, copying {record.copying:.3f},"
            f" {record.steps} steps in {record.seconds:.0f} s",
            highlight=False,
            soft_wrap=True,
        )


def _score(pairs: list[Pair], store: Store) -> Scored:
    setting = pairs[0].setting
    return score_pairs(pairs, store, lambda: make_scorer(setting), read_subjects(setting), console)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
