from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_runners import FakeReferenceEncoder, make_spec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.batch import RUN_PIXELS
from serving.lane import ReferenceStream
from serving.reference_feeds import pad
from serving.references import ReferenceFeatures, keep
from tests.helpers.concepts import SITES

TIMESTEPS = (900, 700, 500, 300, 100)


def streams(seed: int = 0, references: int = 1) -> tuple[ReferenceStream, ...]:
    return make_spec(seed=seed, digest="d" * 64, references=references).streams


def make(encoder: FakeReferenceEncoder, max_bytes: int = 2**20, lookahead: int = 3) -> ReferenceFeatures:
    return ReferenceFeatures(encoder, len(SITES), max_bytes, lookahead, max_rows=4)


def test_computed_ahead_in_one_batch_and_kept() -> None:
    encoder = FakeReferenceEncoder()
    features = make(encoder)
    stream = streams()[0]
    for i in range(len(TIMESTEPS)):
        features.at([(stream, TIMESTEPS[i:])])
    assert encoder.batches == [3, 2]
    features.cache.check_integrity()
    features.at([(streams()[0], TIMESTEPS)])
    assert encoder.batches == [3, 2], "an equal stream of another lane finds what is kept"


def test_one_run_serves_several_streams_up_to_its_rows() -> None:
    encoder = FakeReferenceEncoder()
    make(encoder).at([(stream, TIMESTEPS) for stream in (*streams(1), *streams(2))])
    assert encoder.batches == [4, 4, 4]


def test_all_references_of_a_concept_stay_in_one_run() -> None:
    encoder = FakeReferenceEncoder()
    negative, positive = streams(references=3)
    tokens = make(encoder, lookahead=1).at([(negative, TIMESTEPS), (positive, TIMESTEPS)])
    assert encoder.batches == [3, 3]
    single = [
        FakeReferenceEncoder().run(
            {
                "latent": reference[None],
                "timestep": np.array([900]),
                "context": negative.context[None],
                "placeholder_position": np.array([3]),
            }
        )
        for reference in negative.concept.references
    ]
    for i in range(len(SITES)):
        together = np.concatenate([one[f"reference_features.{i}"][0] for one in single])
        mask = np.concatenate([one[f"reference_mask.{i}"][0] for one in single])
        np.testing.assert_array_equal(tokens[0][i], together[mask > 0])


@pytest.mark.parametrize("max_bytes", [0, 300])
def test_a_small_cache_costs_time_not_correctness(max_bytes: int) -> None:
    wanted = [(stream, TIMESTEPS[1:]) for stream in streams(5)]
    small, large = make(FakeReferenceEncoder(), max_bytes), make(FakeReferenceEncoder())
    for _ in range(2):
        for few, many in zip(small.at(wanted), large.at(wanted), strict=True):
            for one, other in zip(few, many, strict=True):
                np.testing.assert_array_equal(one, other)
    small.cache.check_integrity()


def test_every_part_of_the_key_counts() -> None:
    keys = {stream.key for seed in range(3) for stream in streams(seed)}
    assert len(keys) == 6


def test_halves_that_read_the_same_are_computed_once() -> None:
    encoder = FakeReferenceEncoder()
    halves = make_spec(digest="d" * 64, fixed_context=True).streams
    assert len(halves) == 2
    negative, positive = make(encoder).at([(stream, TIMESTEPS) for stream in halves])
    assert encoder.batches == [3]
    assert negative is positive


def test_pictures_of_one_prompt_share_every_run() -> None:
    encoder = FakeReferenceEncoder()
    features = make(encoder)
    pictures = [(stream, TIMESTEPS) for _ in range(4) for stream in streams()]
    features.at(pictures)
    assert encoder.batches == [4, 2]
    assert (features.use.misses, features.use.hits, features.use.rows) == (2, 0, 6)


def test_the_negative_half_is_kept_across_prompts_with_the_placeholder_at_the_same_place() -> None:
    """The empty prompt is read with the positive prompt's placeholder position, so that position is part of the key."""
    encoder = FakeReferenceEncoder()
    features = make(encoder, lookahead=1)
    negative, positive = streams()
    features.at([(negative, TIMESTEPS), (positive, TIMESTEPS)])
    other = replace(positive, context=positive.context + 1)
    features.at([(streams()[0], TIMESTEPS), (other, TIMESTEPS)])
    assert encoder.batches == [2, 1]
    moved = replace(negative, concept=replace(negative.concept, position=9))
    features.at([(moved, TIMESTEPS)])
    assert encoder.batches == [2, 1, 1]


def test_a_fixed_context_is_computed_once_for_all_requests() -> None:
    """`reference_context = concept`: whatever is asked, all timesteps of the schedule are known after one request."""
    encoder = FakeReferenceEncoder()
    features = make(encoder)
    for request in range(3):
        halves = make_spec(digest="d" * 64, fixed_context=True).streams
        for i in range(len(TIMESTEPS)):
            features.at([(stream, TIMESTEPS[i:]) for stream in halves])
        assert encoder.batches == [3, 2], f"request {request}"
    use = features.use
    assert (use.runs, use.rows, use.entries) == (2, len(TIMESTEPS), len(TIMESTEPS))
    assert use.misses == 2
    assert use.hits == 3 * len(TIMESTEPS) - 2
    assert 0 < use.size_bytes == features.cache.size_bytes <= use.max_bytes


@given(
    steps=st.integers(1, 12),
    lookahead=st.integers(1, 13),
    max_rows=st.integers(1, 6),
    references=st.integers(1, 3),
)
def test_any_lookahead_computes_every_timestep_once(steps: int, lookahead: int, max_rows: int, references: int) -> None:
    encoder = FakeReferenceEncoder()
    features = ReferenceFeatures(encoder, len(SITES), 2**24, lookahead, max_rows)
    timesteps = tuple(range(steps * 10, 0, -10))
    halves = streams(references=references)
    for i in range(steps):
        features.at([(stream, timesteps[i:]) for stream in halves])
    assert sum(encoder.batches) == features.use.rows == 2 * steps * references
    assert max(encoder.batches) <= max(max_rows, references)
    assert len(encoder.batches) == features.use.runs
    features.cache.check_integrity()


@given(npst.arrays(np.float32, (9, 3), elements=st.floats(-4, 4, width=32)), npst.arrays(bool, 9), st.integers(0, 5))
def test_pruning_and_padding_lose_nothing(features: Any, mask: Any, more: int) -> None:
    """Attention over what is kept, padded beside a longer row, is attention over all with the rest masked."""
    kept = keep(features, mask)
    padded, kept_mask = pad([kept, np.zeros((len(kept) + more, 3), np.float32)])
    query = np.array([0.3, -1.0, 0.7], np.float32)
    np.testing.assert_allclose(
        _attend(query, padded[0], kept_mask[0] > 0),
        _attend(query, features, mask) if mask.any() else features.mean(axis=0),
        atol=1e-5,
    )


def _attend(query: Any, tokens: Any, mask: Any) -> Any:
    weights = np.where(mask, np.exp(tokens @ query), 0)
    return weights @ tokens / weights.sum()


def test_an_empty_mask_keeps_the_mean() -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(keep(features, np.zeros(3, bool)), [[2, 3]])
    np.testing.assert_array_equal(keep(features, np.array([True, False, True])), features[[0, 2]])


def test_padding_is_masked() -> None:
    features, mask = pad([np.ones((1, 2), np.float32), np.ones((3, 2), np.float32)])
    assert features.shape == (2, 3, 2)
    np.testing.assert_array_equal(mask, [[1, 0, 0], [1, 1, 1]])
    assert features[0, 1:].sum() == 0


@pytest.mark.parametrize(("side", "rows"), [(4, 8), (32, 8), (64, 2), (96, 1), (192, 1)])
def test_large_references_are_computed_a_few_at_a_time(side: int, rows: int) -> None:
    encoder = _CountingEncoder()
    features = ReferenceFeatures(encoder, len(SITES), 2**30, lookahead=8, max_rows=8, max_pixels=RUN_PIXELS)
    concept = streams()[0].concept
    large = replace(concept, references=np.zeros((1, 4, side, side), np.float32))
    features.at([(large.streams[0], tuple(range(800, 0, -100)))])
    assert encoder.batches == [rows] * (8 // rows)


class _CountingEncoder(FakeReferenceEncoder):
    """The same features whatever the size: what counts is how many rows are asked at once."""

    def run(self, feeds: Any) -> Any:
        return super().run(dict(feeds) | {"latent": feeds["latent"][:, :, :4, :4]})
