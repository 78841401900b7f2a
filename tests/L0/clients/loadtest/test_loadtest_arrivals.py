"""Arrival schedules: sorted, inside the time, at the rate asked for, and bursty only where bursts were asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vico_client.loadtest.arrivals import Bursts, Instants, bursty, constant, poisson

RATES = st.floats(0.01, 200)
DURATIONS = st.floats(0.01, 60)
SEEDS = st.integers(0, 2**32)


def _dispersion(instants: Instants, duration: float) -> float:
    """Variance over mean of the counts per second: 1 for a Poisson process."""
    counts, _ = np.histogram(instants, np.arange(0, duration + 1))
    return float(counts.var() / counts.mean())


def _in_order(instants: Instants, duration: float) -> bool:
    return bool((np.diff(instants) >= 0).all() and (instants >= 0).all() and (instants < duration).all())


@given(rate=RATES, duration=DURATIONS)
@settings(deadline=None, max_examples=50)
def test_constant_gaps(rate: float, duration: float) -> None:
    instants = constant(rate, duration)
    assert _in_order(instants, duration)
    assert len(instants) == pytest.approx(rate * duration, abs=1)
    assert np.allclose(np.diff(instants), 1 / rate)


@given(rate=RATES, duration=DURATIONS, seed=SEEDS)
@settings(deadline=None, max_examples=50)
def test_poisson_is_sorted_and_reproducible(rate: float, duration: float, seed: int) -> None:
    instants = poisson(rate, duration, np.random.default_rng(seed))
    assert _in_order(instants, duration)
    np.testing.assert_array_equal(instants, poisson(rate, duration, np.random.default_rng(seed)))


@given(
    rate=RATES,
    duration=DURATIONS,
    seed=SEEDS,
    bursts=st.builds(Bursts, st.floats(1.01, 50), st.floats(0, 0.99), st.floats(0.05, 20)),
)
@settings(deadline=None, max_examples=50)
def test_bursts_are_sorted_and_reproducible(rate: float, duration: float, seed: int, bursts: Bursts) -> None:
    instants = bursty(rate, duration, np.random.default_rng(seed), bursts)
    assert _in_order(instants, duration)
    np.testing.assert_array_equal(instants, bursty(rate, duration, np.random.default_rng(seed), bursts))


@given(st.builds(Bursts, st.floats(1.01, 50), st.floats(0, 0.99)))
@settings(deadline=None, max_examples=50)
def test_bursts_keep_the_mean_rate(bursts: Bursts) -> None:
    assert bursts.share * bursts.peak + (1 - bursts.share) * bursts.calm == pytest.approx(1)


def test_poisson_has_the_rate_and_the_gaps_of_one() -> None:
    instants = poisson(50, 2000, np.random.default_rng(0))
    assert len(instants) == pytest.approx(100_000, rel=0.02)
    gaps = np.diff(instants)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)  # of an exponential distribution
    assert _dispersion(instants, 2000) == pytest.approx(1, rel=0.1)


def test_bursts_have_the_rate_and_come_in_bursts() -> None:
    instants = bursty(50, 20_000, np.random.default_rng(0), Bursts())
    assert len(instants) == pytest.approx(1_000_000, rel=0.1)
    assert _dispersion(instants, 20_000) > 20
    counts, _ = np.histogram(instants, np.arange(0, 20_001))
    assert (counts > 150).mean() == pytest.approx(Bursts().share, abs=0.05)  # 200 a second in a burst, 12.5 outside


def test_no_burst_without_an_off_time_is_lost() -> None:
    """calm = 0 is on and off: nothing at all arrives between bursts."""
    instants = bursty(100, 1000, np.random.default_rng(1), Bursts(peak=10, calm=0, seconds=1))
    counts, _ = np.histogram(instants, np.arange(0, 1000.5, 0.5))
    assert (counts == 0).mean() > 0.7
