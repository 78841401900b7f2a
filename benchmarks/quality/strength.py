"""Identity and text over the strength of a concept, `image_guidance`: trained once, drawn at every strength."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from benchmarks.quality.pair import Pair, Setting, key_of, require_concepts
from benchmarks.quality.records import Record
from benchmarks.quality.store import Facts, Store
from benchmarks.quality.work import base_at, subject_of
from training.baselines.methods import OURS, PLAIN
from training.baselines.two_streams import TwoStreams
from training.evaluation.draw import draw_suite
from training.evaluation.maker import concept_maker

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""All that a request may ask for (`image_guidance`), from the learned word alone to half as much again as trained."""
CONCEPTS = ("siamese-cat", "toy-train", "teapot")
"""Those of the ablations."""


def strength_pairs(setting: Setting, concepts: Sequence[str]) -> list[Pair]:
    """Concept by concept, the plain base first, then every strength, the greatest last."""
    require_concepts(setting.photos, concepts)
    return [
        pair
        for concept in concepts
        for pair in (
            Pair(PLAIN, PLAIN, concept, setting),
            *(Pair(f"strength {s:g}", OURS, concept, setting, image_guidance=s) for s in STRENGTHS),
        )
    ]


def run_strengths(pair: Pair, folder: Path) -> Facts:
    """Train `pair`'s concept, draw and save the suite at every strength; returns the facts of the last.

    To `run_pairs` a concept is its last strength: when that is there, so are the others.
    """
    pairs = [replace(pair, label=f"strength {s:g}", image_guidance=s) for s in STRENGTHS]
    keys = [key_of(one) for one in pairs]
    method, base = pair.make(), base_at(pair.setting.base)
    assert isinstance(method, TwoStreams)
    subject = subject_of(pair, base.default_size)
    learned = method.learn(base, subject, pair.setting.seed, pair.setting.seconds)
    for key, one in zip(keys, pairs, strict=True):
        started = time.monotonic()
        drawn = draw_suite(concept_maker(base, learned.concept, one.suite.settings), one.suite)
        drawing = time.monotonic() - started
        facts = Facts(
            key, "", one.label, one.method, one.concept, learned.seconds, learned.steps, learned.parameters, drawing
        )
        Store(folder).save(one, drawn, facts)
    return facts


def strength_table(records: Sequence[Record]) -> str:
    """Markdown: a row per strength, means over concepts; then what is monotone."""
    rows = ["| image guidance | identity, object crop | gap closed | retrieval mAP | text |", "|---|---|---|---|---|"]
    for strength in STRENGTHS:
        own = _at(records, strength)
        rows.append(
            f"| {strength:g} | {fmean(r.identity_crop for r in own):.3f} | {fmean(r.closed for r in own):.0%} |"
            f" {fmean(r.retrieval_map for r in own):.3f} | {fmean(r.text for r in own):.3f} |"
        )
    means = [fmean(r.identity_crop for r in _at(records, strength)) for strength in STRENGTHS]
    concepts = list(dict.fromkeys(record.concept for record in records))
    falls = [name for name in concepts if not rises(by_strength([r for r in records if r.concept == name]))]
    rows += ["", f"Mean identity rises with every step: **{'yes' if rises(means) else 'no'}**."]
    rows.append(f"By concept it falls somewhere for: {', '.join(falls) or 'none'}.")
    return "\n".join(rows)


def by_strength(records: Sequence[Record]) -> list[float]:
    """Identity of one concept in the order of `STRENGTHS`."""
    return [record.identity_crop for strength in STRENGTHS for record in _at(records, strength)]


def rises(figures: Sequence[float]) -> bool:
    """No figure is below the one before it."""
    return all(before <= after for before, after in pairwise(figures))


def plot(records: Sequence[Record]) -> bytes:
    """PNG: gap closed over strength, a line per concept, and text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    identity, text = figure.subplots(1, 2)
    for concept in dict.fromkeys(record.concept for record in records):
        own = [record for record in records if record.concept == concept]
        identity.plot(STRENGTHS, [r.closed for s in STRENGTHS for r in _at(own, s)], marker="o", label=concept)
        text.plot(STRENGTHS, [r.text for s in STRENGTHS for r in _at(own, s)], marker="o", label=concept)
    identity.set(xlabel="image guidance", ylabel="gap closed (0 = init word, 1 = real photos)")
    text.set(xlabel="image guidance", ylabel="text score", ylim=(0, 1))
    identity.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _at(records: Sequence[Record], strength: float) -> list[Record]:
    return [record for record in records if record.method == f"strength {strength:g}"]
