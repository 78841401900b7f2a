"""From finished pairs to `docs/quality.json`, `quality.md` and `quality.png`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.quality.page import write_page
from benchmarks.quality.pair import Pair
from benchmarks.quality.records import Record, make_record, write_records
from benchmarks.quality.store import Store
from benchmarks.quality.tables import comparison_table, concept_table, encoder_table, methods_in
from training.baselines.methods import OURS, PLAIN
from training.evaluation.draw import Drawn
from training.evaluation.scorer import Scorer
from training.evaluation.subject import Subject
from vico.concept.atomic import write_atomically


@dataclass(frozen=True, eq=False)
class Scored:
    """Figures of all pairs, and the pictures they were taken from."""

    records: list[Record]
    pictures: dict[str, dict[str, tuple[Drawn, ...]]]  # by concept, then label


def score_pairs(
    pairs: Sequence[Pair],
    store: Store,
    make_scorer: Callable[[], Scorer],
    subjects: Sequence[Subject],
    console: Console,
) -> Scored:
    """Score every pair but the plain ones, which are the floor; the scorer is made once all pairs are known to be good.

    Raises:
        QualityError: a pair is not finished, or was made from something else than today's.
    """
    loaded = {(pair.concept, pair.label): store.load(pair) for pair in pairs}
    by_id = {subject.id: subject for subject in subjects}
    learned = [pair for pair in pairs if pair.method != PLAIN]
    scorer, scored = make_scorer(), Scored([], {})
    for pair in track(learned, "scoring", console=console):
        drawn, facts = loaded[pair.concept, pair.label]
        floor, _ = loaded[pair.concept, PLAIN]
        scored.records.append(make_record(facts, scorer.score(by_id[pair.concept], drawn, floor)))
        scored.pictures.setdefault(pair.concept, {PLAIN: floor})[pair.label] = drawn
    return scored


def write_report(out: Path, name: str, scored: Scored, subjects: Sequence[Subject], text: str) -> None:
    """Write `<name>.json`, `.md` and `.png` into a folder; `text` stands between title and tables."""
    records = scored.records
    by_id = {subject.id: subject for subject in subjects}
    rows = [(by_id[concept], pictures) for concept, pictures in scored.pictures.items()]
    write_page(out / f"{name}.png", rows, [PLAIN, *methods_in(records)])
    write_records(out / f"{name}.json", records)
    write_atomically(out / f"{name}.md", _markdown(name, text, records).encode())


def _markdown(name: str, text: str, records: Sequence[Record]) -> str:
    parts = [text, comparison_table(records, OURS)]
    if any(method != OURS for method in methods_in(records)):
        parts.append(_READING)
    parts += ["## Encoders", encoder_table(records), "## Concepts", concept_table(records)]
    parts.append(f"## Pictures\n![a row per concept, a column per method]({name}.png)")
    parts.append("Row by row the suite's prompts with its first seed; no picture was chosen.")
    return "\n\n".join(parts) + "\n"


_READING = f"""\
Identity: mean cosine of object crops to the crops of held-out photos, averaged over the encoders below, which stand
there one by one. *Gap closed*: 0 % is the init word drawn by the plain base, 100 % is real photos of the thing.
*Less `{OURS}`*: mean over concepts of the difference, with the 95 % interval of a bootstrap over concepts. *Ratio to
best*: text score over the highest one. *Copying*: share of pictures that copy a training photo, background and all."""
