from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.evaluation.encoder import Features, unit
from training.evaluation.similarity import copying, diversity, mean_cosine, mean_cosine_among, retrieval

_rows = st.integers(1, 6)


def features(rows: int, seed: int, width: int = 4) -> Features:
    return unit(np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32))


def average_precision(ranked: list[bool]) -> float:
    """The definition, word for word."""
    shares = [sum(ranked[: place + 1]) / (place + 1) for place, right in enumerate(ranked) if right]
    return sum(shares) / len(shares)


@given(hnp.arrays(np.bool_, st.integers(1, 12)).filter(lambda r: bool(r.any())), _rows, st.integers(0, 999))
def test_retrieval_is_its_definition(relevant: np.ndarray, queries: int, seed: int) -> None:  # type: ignore[type-arg]
    asked, gallery = features(queries, seed), features(len(relevant), seed + 1000)
    found = retrieval(asked, gallery, relevant)
    expected, first = [], []
    for query in asked:
        order = sorted(range(len(gallery)), key=lambda i: -float(query @ gallery[i]))
        ranked = [bool(relevant[i]) for i in order]
        expected.append(average_precision(ranked))
        first.append(ranked[0])
    assert found.mean_average_precision == pytest.approx(np.mean(expected), abs=1e-9)
    assert found.top1 == pytest.approx(np.mean(first))


def test_retrieval_best_and_worst() -> None:
    gallery = unit(np.array([[1, 0], [1, 0.1], [0, 1], [-1, 0]], dtype=np.float32))
    query = gallery[:1]
    best = retrieval(query, gallery, np.array([True, True, False, False]))
    worst = retrieval(query, gallery, np.array([False, False, False, True]))
    assert (best.mean_average_precision, best.top1) == (1.0, 1.0)
    assert (worst.mean_average_precision, worst.top1) == (0.25, 0.0)


@given(st.integers(2, 6), st.integers(0, 999))
def test_among_is_the_mean_over_different_pairs(rows: int, seed: int) -> None:
    one = features(rows, seed)
    pairs = [float(one[i] @ one[j]) for i in range(rows) for j in range(rows) if i != j]
    assert mean_cosine_among(one) == pytest.approx(np.mean(pairs), abs=1e-5)


@given(_rows, _rows, st.integers(0, 999))
def test_mean_cosine_is_symmetric_and_bounded(n: int, m: int, seed: int) -> None:
    one, other = features(n, seed), features(m, seed + 1)
    assert mean_cosine(one, other) == pytest.approx(mean_cosine(other, one), abs=1e-6)
    assert abs(mean_cosine(one, other)) <= 1 + 1e-6


def test_diversity_counts_within_groups_only() -> None:
    rows = unit(np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32))
    assert diversity(rows, ["a", "a", "b", "b"]) == pytest.approx(0, abs=1e-6)
    assert diversity(rows, ["a", "b", "a", "b"]) == pytest.approx(1, abs=1e-6)


def test_diversity_of_single_pictures_is_nought() -> None:
    assert diversity(features(3, 0), ["a", "b", "c"]) == 0


def test_copies_count_and_other_pictures_do_not() -> None:
    train = unit(np.array([[1, 0, 0], [0.8, 0.6, 0]], dtype=np.float32))
    made = unit(np.array([[1, 0.05, 0], [1, 0, 1], [0, 0, 1]], dtype=np.float32))
    assert copying(made, train, np.zeros((0, 3), np.float32)) == pytest.approx(1 / 3)


def test_one_photo_takes_its_bar_from_the_held_out_ones() -> None:
    train = unit(np.array([[1, 0]], dtype=np.float32))
    made = unit(np.array([[1, 0.01]], dtype=np.float32))
    assert copying(made, train, unit(np.array([[1, 1]], dtype=np.float32))) == 1
    assert copying(made, train, np.zeros((0, 2), np.float32)) == 0
