"""Reference features, computed ahead of the loop in batches over timesteps, and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.cache import ByteLRU
from serving.lane import ReferenceStream
from serving.runners.runner import Results, Runner

FloatArray = npt.NDArray[np.float32]
SiteTokens = tuple[FloatArray, ...]
"""Per site [K_i, C_i], K_i ≥ 1: the features of the kept reference patches."""

_Key = tuple[str, str, str, int, int]
_Work = dict[_Key, tuple[ReferenceStream, int]]


@dataclass(frozen=True)
class ReferenceUse:
    """What reference features have cost so far, and what they hold."""

    hits: int = 0
    """Asked of the cache and found."""
    misses: int = 0
    """Asked and computed."""
    runs: int = 0
    """Runs of `reference_encoder`."""
    rows: int = 0
    """Rows of all runs: one for each reference at each timestep."""
    entries: int = 0
    """Streams × timesteps held now."""
    size_bytes: int = 0
    """Bytes held now."""
    max_bytes: int = 0
    """The bound on them."""


class ReferenceFeatures:
    """The reference stream, which never reads the noisy latent (ViCo, section 3.2) and so can run before it is needed.

    Args:
        runner: of `reference_encoder`.
        sites: how many.
        max_bytes: bound on what is kept.
        lookahead: timesteps computed at once when one is missing.
        max_rows: of one run.
    """

    def __init__(self, runner: Runner, sites: int, max_bytes: int, lookahead: int = 8, max_rows: int = 16) -> None:
        self._runner = runner
        self._sites = sites
        self._lookahead = lookahead
        self._max_rows = max_rows
        self._hits = self._misses = self._runs = self._rows = 0
        self.cache: ByteLRU[_Key, SiteTokens] = ByteLRU(max_bytes, lambda tokens: sum(t.nbytes for t in tokens))

    @property
    def use(self) -> ReferenceUse:
        """The counters now."""
        cache = self.cache
        held = len(cache), cache.size_bytes, cache.max_bytes
        return ReferenceUse(self._hits, self._misses, self._runs, self._rows, *held)

    def at(self, wanted: Sequence[tuple[ReferenceStream, tuple[int, ...]]]) -> list[SiteTokens]:
        """Features of each stream at the first of its timesteps; the ones after it are computed along if they are near.

        Args:
            wanted: streams, each with its remaining timesteps, the next one first.
        """
        found: dict[_Key, SiteTokens] = {}
        work: _Work = {}
        # halves that read the same text, and pictures of one prompt, ask for one thing
        for key, (stream, timesteps) in {(*stream.key, ts[0]): (stream, ts) for stream, ts in wanted}.items():
            tokens = self.cache.get(key)
            if tokens is None:
                self._misses += 1
                work.update(self._ahead(stream, timesteps))
            else:
                self._hits += 1
                found[key] = tokens
        found.update(self._compute(work))
        return [found[(*stream.key, timesteps[0])] for stream, timesteps in wanted]

    def _ahead(self, stream: ReferenceStream, timesteps: tuple[int, ...]) -> _Work:
        near = {(*stream.key, t): (stream, t) for t in timesteps[: self._lookahead]}
        return {key: item for key, item in near.items() if key not in self.cache}

    def _compute(self, work: _Work) -> dict[_Key, SiteTokens]:
        computed: dict[_Key, SiteTokens] = {}
        for keys in _chunks(work, self._max_rows):
            streams = [work[key] for key in keys]
            results = self._run(streams)
            end = 0
            for key, (stream, _) in zip(keys, streams, strict=True):
                start, end = end, end + len(stream.concept.references)
                computed[key] = self._kept(results, slice(start, end))
                self.cache.put(key, computed[key])
        return computed

    def _run(self, streams: Sequence[tuple[ReferenceStream, int]]) -> Results:
        rows = [(stream, timestep) for stream, timestep in streams for _ in stream.concept.references]
        self._runs += 1
        self._rows += len(rows)
        return self._runner.run(
            {
                "latent": np.concatenate([stream.concept.references for stream, _ in streams]),
                "timestep": np.array([timestep for _, timestep in rows], np.int64),
                "context": np.stack([stream.context for stream, _ in rows]),
                "placeholder_position": np.array([stream.concept.position for stream, _ in rows], np.int64),
            }
        )

    def _kept(self, results: Results, rows: slice) -> SiteTokens:
        """One concept's references side by side, as one row of tokens."""
        return tuple(
            keep(
                np.concatenate(results[f"reference_features.{i}"][rows]),
                np.concatenate(results[f"reference_mask.{i}"][rows]) > 0.5,
            )
            for i in range(self._sites)
        )


def keep(features: FloatArray, mask: npt.NDArray[np.bool_]) -> FloatArray:
    """The rows of `features` [N, C] where `mask` [N]; with an empty mask their mean [1, C].

    An empty mask attends uniformly over all patches. That is attention to one token with their mean, and stays right
    when the row is padded to the length of its neighbours.
    """
    if not mask.any():
        mean: FloatArray = features.mean(axis=0, keepdims=True)
        return mean
    return features[mask]


def _chunks(work: _Work, max_rows: int) -> Iterator[list[_Key]]:
    """Keys in runs of at most `max_rows` rows (or one key), whose reference latents have one size."""
    by_size: dict[tuple[int, ...], list[_Key]] = {}
    for key, (stream, _) in work.items():
        by_size.setdefault(stream.concept.references.shape[1:], []).append(key)
    for keys in by_size.values():
        run: list[_Key] = []
        rows = 0
        for key in keys:
            count = len(work[key][0].concept.references)
            if run and rows + count > max_rows:
                yield run
                run, rows = [], 0
            run.append(key)
            rows += count
        yield run
