"""The arithmetic of the scores: cosines, ranks, distances. All features are rows of length 1."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.evaluation.encoder import Features


@dataclass(frozen=True)
class Retrieval:
    """How well queries find what is relevant in a gallery, 0..1."""

    mean_average_precision: float
    top1: float


def mean_cosine(rows: Features, others: Features) -> float:
    """Mean over all pairs of a row [N, D] and another [M, D]."""
    return float((rows @ others.T).mean())


def mean_cosine_among(rows: Features) -> float:
    """Mean over all pairs of two different rows [N, D], N at least 2."""
    count = len(rows)
    return float(((rows @ rows.T).sum() - np.square(rows).sum()) / (count * (count - 1)))


def retrieval(queries: Features, gallery: Features, relevant: npt.NDArray[np.bool_]) -> Retrieval:
    """Queries [Q, D] against a gallery [G, D] of which `relevant` [G] are right answers, at least one.

    Average precision: mean, over the relevant ones, of the share of relevant ones among all ranked as high or higher.
    Equal cosines rank in the gallery's order. Source: Finer-Personalization Rank (arXiv 2512.19026).
    """
    order = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    hits = relevant[order]  # [Q, G]
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    average = (precision * hits).sum(axis=1) / hits.sum(axis=1)
    return Retrieval(float(average.mean()), float(hits[:, 0].mean()))


def diversity(rows: Features, groups: Sequence[Hashable]) -> float:
    """Mean of 1 − cosine over the pairs within a group, then over groups; 0 where no group has two rows [N, D]."""
    distances = []
    for group in dict.fromkeys(groups):
        members = rows[[i for i, own in enumerate(groups) if own == group]]
        if len(members) > 1:
            distances.append(1 - mean_cosine_among(members))
    return float(np.mean(distances)) if distances else 0.0


def copying(rows: Features, train: Features, other_real: Features) -> float:
    """Share of rows [N, D] nearer to a training photo than any two different real photos of the thing are.

    The bar is the greatest cosine between a training photo [T, D] and another real one (training or `other_real`
    [O, D]): real photos of one thing show it on different grounds, so what is nearer has copied more than the thing.
    Where there is a single real photo there is no bar and nothing counts as copied.
    """
    among = train @ train.T
    np.fill_diagonal(among, -np.inf)
    bar = max(among.max(initial=-np.inf), (train @ other_real.T).max(initial=-np.inf))
    return float(((rows @ train.T).max(axis=1) > bar).mean()) if np.isfinite(bar) else 0.0
