"""The denoiser's reference inputs: features of every row side by side; a step's while the one before it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from serving.lane import FloatArray, LaneSpec
from serving.references import ReferenceFeatures, SiteTokens
from serving.runner import Feeds
from vico.concept import SiteSpec

logger = logging.getLogger("vico.serving")

Ask = tuple[tuple[LaneSpec, int], ...]
"""Pictures in the order of their rows, each with the number of a step."""


class ReferenceFeeds:
    """Used by one thread.

    Args:
        sites: in decoder order.
        references: reference features.
        executor: where a step is prepared while another one runs; None = nothing is prepared. Ended by `close`.
    """

    def __init__(
        self, sites: Sequence[SiteSpec], references: ReferenceFeatures, executor: Executor | None = None
    ) -> None:
        self._references = references
        self._executor = executor
        self._nothing: SiteTokens = tuple(np.zeros((1, site.channels), np.float32) for site in sites)
        self._prepared: tuple[Ask, Future[Feeds | None]] | None = None

    def of(self, ask: Ask) -> Feeds:
        """Features and mask per site for the rows of these steps; not to be written to."""
        feeds = self._taken(ask)
        if feeds is None:
            feeds = self._laid(ask, self._references.at([reads for spec, step in ask for reads in spec.reads_at(step)]))
        return feeds

    def prepare(self, ask: Ask, then: Callable[[], None] = lambda: None) -> None:
        """Begin what `of` will be asked next, most likely; of one batch at a time.

        `then` is called after it in the same thread: to hand over two pieces of work costs more than one.
        """
        if self._executor is None:
            then()
        else:
            self._prepared = ask, self._executor.submit(self._made, ask, then)

    def close(self) -> None:
        """Prepare nothing more."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def _taken(self, ask: Ask) -> Feeds | None:
        """What was prepared, if it is this and could be."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return None
        foreseen, future = prepared
        if foreseen != ask:
            future.cancel()
            return None
        if (error := future.exception()) is not None:
            # tried again here, where it fails those that ask for it
            logger.warning("a step could not be prepared: %r", error)
            return None
        return future.result()

    def _made(self, ask: Ask, then: Callable[[], None]) -> Feeds | None:
        """None where features are still to be computed: there is another thread for that."""
        try:
            found = self._references.kept([reads for spec, step in ask for reads in spec.reads_at(step)])
            return None if found is None or not ask else self._laid(ask, found)
        finally:
            then()

    def _laid(self, ask: Ask, found: Sequence[SiteTokens]) -> Feeds:
        """One all-zero token per site for a row that reads no reference."""
        tokens = iter(found)
        strengths = [strength for spec, step in ask for strength in spec.row_strengths_at(step)]
        rows = [next(tokens) if strength > 0 else self._nothing for strength in strengths]
        feeds: dict[str, FloatArray] = {}
        for i, own in enumerate(zip(*rows, strict=True)):
            feeds[f"reference_features.{i}"], feeds[f"reference_mask.{i}"] = pad(own)
        return feeds


def pad(tokens: Sequence[FloatArray]) -> tuple[FloatArray, npt.NDArray[np.float32]]:
    """Rows [K_b, C] → features [B, M, C] and mask [B, M], M the longest; what is padded is masked out.

    The mask is not to be written to.
    """
    lengths = tuple(map(len, tokens))
    if len(set(lengths)) == 1:
        return np.concatenate(tokens).reshape(len(tokens), *tokens[0].shape), _mask(lengths)
    features = np.zeros((len(tokens), max(lengths), tokens[0].shape[1]), np.float32)
    for row, length, own in zip(features, lengths, tokens, strict=True):
        row[:length] = own
    return features, _mask(lengths)


@lru_cache(64)
def _mask(lengths: tuple[int, ...]) -> npt.NDArray[np.float32]:
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.float32)
    mask.flags.writeable = False
    return mask
