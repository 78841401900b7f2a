"""Which concept is asked for: Zipf or uniform over the warm ones, now and then one that nobody asked for before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand(ids: Sequence[str]) -> list[str]:
    """`toy-{0..63}` stands for `toy-0` … `toy-63`."""
    return [name for entry in ids for name in _expanded(entry)]


def _expanded(entry: str) -> Iterator[str]:
    found = _RANGE.search(entry)
    if found is None:
        yield entry
        return
    for number in range(int(found[1]), int(found[2]) + 1):
        yield from _expanded(f"{entry[: found.start()]}{number}{entry[found.end() :]}")


def zipf(count: int, exponent: float) -> NDArray[np.float64]:
    """Probabilities [count], the k-th in proportion to 1 / k^exponent; exponent 0 is uniform."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


@dataclass
class ConceptPicker:
    """Picks concepts for one stream of requests.

    warm: ids, the most popular first. cold: ids taken in turn, so that each is new as long as they last.
    cold_share, plain_share: of the requests, cold ones and those without a concept.
    """

    warm: Sequence[str]
    probabilities: NDArray[np.float64]
    cold: Sequence[str]
    cold_share: float
    plain_share: float
    _taken: int = 0

    def pick(self, random: np.random.Generator) -> tuple[str, bool]:
        """(concept, whether it is a cold one); "" is plain Stable Diffusion."""
        which = float(random.random())
        if which < self.plain_share or not (self.warm or self.cold):
            return "", False
        if self.cold and (which < self.plain_share + self.cold_share or not self.warm):
            self._taken += 1
            return self.cold[(self._taken - 1) % len(self.cold)], True
        return self.warm[int(random.choice(len(self.warm), p=self.probabilities))], False
