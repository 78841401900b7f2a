"""Reference features, computed ahead of the loop in batches over timesteps, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np
import numpy.typing as npt

from serving.cache import ByteLRU
from serving.lane import ReferenceStream
from serving.pace import Pace
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

    Safe to use from several threads; nothing is computed by two of them at once.

    Args:
        runner: of `reference_encoder`.
        sites: how many.
        max_bytes: bound on what is kept.
        lookahead: timesteps computed at once when one is missing.
        max_rows: of one run.
        max_pixels: latent pixels of one run, all rows together; 0 = no bound.
    """

    def __init__(
        self,
        runner: Runner,
        sites: int,
        max_bytes: int,
        lookahead: int = 8,
        max_rows: int = 16,
        max_pixels: int = 0,
    ) -> None:
        self._runner = runner
        self._sites = sites
        self._lookahead = lookahead
        self._max_rows, self._max_pixels = max_rows, max_pixels
        self._hits = self._misses = self._runs = self._rows = 0
        self._lock = Lock()
        self._begun: dict[_Key, Future[SiteTokens]] = {}
        self._pace = Pace()
        self.cache: ByteLRU[_Key, SiteTokens] = ByteLRU(max_bytes, lambda tokens: sum(t.nbytes for t in tokens))

    @property
    def use(self) -> ReferenceUse:
        """The counters now."""
        cache = self.cache
        held = len(cache), cache.size_bytes, cache.max_bytes
        return ReferenceUse(self._hits, self._misses, self._runs, self._rows, *held)

    @property
    def progress(self) -> float:
        """Rows computed so far, with an estimate of how far a run under way has come."""
        return self._pace.rows()

    def at(self, wanted: Sequence[tuple[ReferenceStream, tuple[int, ...]]]) -> list[SiteTokens]:
        """Features of each stream at the first of its timesteps; the ones after it are computed along if they are near.

        What another thread has begun is waited for; the rest is computed here, ahead of whatever else waits.

        Args:
            wanted: streams, each with its remaining timesteps, the next one first.
        """
        # halves that read the same text, and pictures of one prompt, ask for one thing
        asked = {(*stream.key, timesteps[0]): (stream, timesteps) for stream, timesteps in wanted}
        found: dict[_Key, SiteTokens] = {}
        counted = False
        while len(found) < len(asked):
            begun, work = self._look(asked, found, counted)
            counted = True
            found.update(self._compute(work))
            for key, future in begun.items():
                # what failed there is tried again here, where it fails whoever asked for it and nobody else
                if future.exception() is None:
                    found[key] = future.result()
        return [found[(*stream.key, timesteps[0])] for stream, timesteps in wanted]

    def kept(self, wanted: Sequence[tuple[ReferenceStream, tuple[int, ...]]]) -> list[SiteTokens] | None:
        """The same where every one of them is kept; nothing is computed or waited for."""
        asked = dict.fromkeys((*stream.key, timesteps[0]) for stream, timesteps in wanted)
        found: dict[_Key, SiteTokens] = {}
        for key in asked:
            if (tokens := self.cache.get(key)) is None:
                return None
            found[key] = tokens
        with self._lock:
            self._hits += len(found)
        return [found[(*stream.key, timesteps[0])] for stream, timesteps in wanted]

    def ahead(self, items: Iterable[tuple[ReferenceStream, int]]) -> None:
        """Compute what is neither kept nor begun, in the order given."""
        self._compute({(*stream.key, timestep): (stream, timestep) for stream, timestep in items})

    def missing(self, items: Iterable[tuple[ReferenceStream, int]]) -> int:
        """Rows of the reference stream that are still to be computed for these."""
        distinct = {(*stream.key, timestep): len(stream.concept.references) for stream, timestep in items}
        return sum(rows for key, rows in distinct.items() if key not in self.cache)

    def check_integrity(self) -> None:
        """Raise AssertionError if the account of bytes is wrong, or what is done still counts as begun."""
        self.cache.check_integrity()
        if any(future.done() for future in self._begun.values()):
            raise AssertionError("features that are done still count as begun")

    def _look(
        self,
        asked: dict[_Key, tuple[ReferenceStream, tuple[int, ...]]],
        found: dict[_Key, SiteTokens],
        counted: bool,
    ) -> tuple[dict[_Key, Future[SiteTokens]], _Work]:
        """Put what is kept into `found`; the rest is begun elsewhere, or work for this thread."""
        begun: dict[_Key, Future[SiteTokens]] = {}
        work: _Work = {}
        with self._lock:
            for key, (stream, timesteps) in asked.items():
                if key in found:
                    continue
                if (tokens := self.cache.get(key)) is not None:
                    found[key] = tokens
                    self._hits += not counted
                    continue
                self._misses += not counted
                if key in self._begun:
                    begun[key] = self._begun[key]
                else:
                    work.update({(*stream.key, t): (stream, t) for t in timesteps[: self._lookahead]})
        return begun, work

    def _compute(self, work: _Work) -> dict[_Key, SiteTokens]:
        """In runs of bounded size; what is kept or begun when its run's turn comes is left out."""
        computed: dict[_Key, SiteTokens] = {}
        for keys in _chunks(work, self._max_rows, self._max_pixels):
            mine = self._begin(keys)
            if mine:
                computed |= self._compute_run(mine, [work[key] for key in mine])
        return computed

    def _begin(self, keys: Sequence[_Key]) -> dict[_Key, Future[SiteTokens]]:
        with self._lock:
            mine: dict[_Key, Future[SiteTokens]] = {
                key: Future() for key in keys if key not in self.cache and key not in self._begun
            }
            self._begun |= mine
        return mine

    def _compute_run(
        self, futures: dict[_Key, Future[SiteTokens]], streams: Sequence[tuple[ReferenceStream, int]]
    ) -> dict[_Key, SiteTokens]:
        computed: dict[_Key, SiteTokens] = {}
        try:
            results = self._run(streams)
            end = 0
            for key, (stream, _) in zip(futures, streams, strict=True):
                start, end = end, end + len(stream.concept.references)
                computed[key] = self._kept(results, slice(start, end))
                self.cache.put(key, computed[key])
        except BaseException as error:
            self._finish(futures, partial(_fail, error))
            raise
        self._finish(futures, lambda future, key: future.set_result(computed[key]))
        return computed

    def _finish(
        self, futures: dict[_Key, Future[SiteTokens]], settle: Callable[[Future[SiteTokens], _Key], None]
    ) -> None:
        with self._lock:
            for key in futures:
                del self._begun[key]
        for key, future in futures.items():
            settle(future, key)

    def _run(self, streams: Sequence[tuple[ReferenceStream, int]]) -> Results:
        rows = [(stream, timestep) for stream, timestep in streams for _ in stream.concept.references]
        with self._lock:
            self._runs += 1
            self._rows += len(rows)
        with self._pace.run(len(rows)):
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


def _fail(error: BaseException, future: Future[SiteTokens], key: _Key) -> None:
    future.set_exception(error)


def keep(features: FloatArray, mask: npt.NDArray[np.bool_]) -> FloatArray:
    """The rows of `features` [N, C] where `mask` [N]; with an empty mask their mean [1, C].

    An empty mask attends uniformly over all patches. That is attention to one token with their mean, and stays right
    when the row is padded to the length of its neighbours.
    """
    if not mask.any():
        mean: FloatArray = features.mean(axis=0, keepdims=True)
        return mean
    return features[mask]


def _chunks(work: _Work, max_rows: int, max_pixels: int) -> Iterator[list[_Key]]:
    """Keys in runs of at most `max_rows` rows and `max_pixels` (or one key), whose reference latents have one size."""
    by_size: dict[tuple[int, int, int], list[_Key]] = {}
    for key, (stream, _) in work.items():
        channels, height, width = stream.concept.references.shape[1:]
        by_size.setdefault((channels, height, width), []).append(key)
    for (_, height, width), keys in by_size.items():
        most = min(max_rows, max_pixels // (height * width)) if max_pixels else max_rows
        run: list[_Key] = []
        rows = 0
        for key in keys:
            count = len(work[key][0].concept.references)
            if run and rows + count > most:
                yield run
                run, rows = [], 0
            run.append(key)
            rows += count
        yield run
