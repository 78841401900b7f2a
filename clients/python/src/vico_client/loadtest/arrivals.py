"""When requests arrive: instants in seconds from the start, sorted, float64 [n], all in [0, duration)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Instants = NDArray[np.float64]


@dataclass(frozen=True)
class Bursts:
    """A Poisson process that switches between two rates (a Markov-modulated one).

    peak, calm: rates as multiples of the mean; peak > 1 > calm ≥ 0. seconds: mean length of a burst.
    """

    peak: float = 4.0
    calm: float = 0.25
    seconds: float = 5.0

    @property
    def share(self) -> float:
        """Of the time spent in bursts, such that the mean rate is the one asked for."""
        return (1 - self.calm) / (self.peak - self.calm)


def constant(rate: float, duration: float) -> Instants:
    """Evenly spaced, the first at 0."""
    return np.arange(max(0, int(np.ceil(rate * duration - 1e-9)))) / rate


def poisson(rate: float, duration: float, random: np.random.Generator, *, exact: bool = False) -> Instants:
    """Independent users: exponential gaps of mean 1 / rate seconds.

    exact: not a Poisson number of requests, but the one expected; so that two rates of a sweep differ as they should.
    """
    count = round(rate * duration) if exact else int(random.poisson(rate * duration))
    return np.sort(random.uniform(0.0, duration, count))


def bursty(rate: float, duration: float, random: np.random.Generator, bursts: Bursts) -> Instants:
    """Poisson at `peak · rate` in bursts and at `calm · rate` between them; both last exponential times."""
    calm_seconds = bursts.seconds * (1 - bursts.share) / bursts.share
    bursting = bool(random.random() < bursts.share)
    start, pieces = 0.0, []
    while start < duration:
        seconds = float(random.exponential(bursts.seconds if bursting else calm_seconds))
        end = min(start + seconds, duration)
        multiple = bursts.peak if bursting else bursts.calm
        pieces.append(start + poisson(multiple * rate, end - start, random))
        start, bursting = end, not bursting
    # adding `start` may round up to the end of the piece
    return np.asarray(np.minimum(np.concatenate(pieces), np.nextafter(duration, 0.0)))
