from __future__ import annotations

import numpy as np
import pytest
from fake_runners import FakeReferenceEncoder, make_spec

from serving.batch import pad
from serving.lane import ReferenceStream
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


def test_an_empty_mask_keeps_the_mean() -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(keep(features, np.zeros(3, bool)), [[2, 3]])
    np.testing.assert_array_equal(keep(features, np.array([True, False, True])), features[[0, 2]])


def test_padding_is_masked() -> None:
    features, mask = pad([np.ones((1, 2), np.float32), np.ones((3, 2), np.float32)])
    assert features.shape == (2, 3, 2)
    np.testing.assert_array_equal(mask, [[1, 0, 0], [1, 1, 1]])
    assert features[0, 1:].sum() == 0
