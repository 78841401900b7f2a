"""Lanes → the denoiser's inputs, and its output → a noise prediction for every lane."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from serving.lane import FloatArray, Lane
from serving.reference_feeds import ReferenceFeeds
from serving.references import ReferenceFeatures
from serving.runner import Feeds
from vico.concept import SiteSpec
from vico.sampling import guide

_Rows = npt.NDArray[np.intp]

RUN_PIXELS = 2 * 64 * 64
"""Latent pixels of one run on the CPU, all rows together. It bounds the activations (a third of a GiB for a row of
64 x 64), and costs next to nothing: at that size a row takes as long in company as by itself."""
_KEPT_BATCHES = 4
"""Batches whose constant inputs are kept: size classes take turns."""


class Assembler:
    """Puts the denoiser's inputs together, step after step.

    Args:
        sites: in decoder order.
        references: reference features.
        executor: where reference inputs are prepared; None = when they are asked for. Ended by `close`.
    """

    def __init__(
        self, sites: Sequence[SiteSpec], references: ReferenceFeatures, executor: Executor | None = None
    ) -> None:
        self._references = ReferenceFeeds(sites, references, executor)
        # at full size the contexts of a batch are megabytes, and are the same until a lane joins or leaves
        self._constant = lru_cache(_KEPT_BATCHES)(_constant_feeds)

    def feeds(self, lanes: Sequence[Lane], bank: Mapping[str, FloatArray]) -> Feeds:
        """The denoiser's inputs for the next step of `lanes`, all of one size class; not to be written to."""
        rows = [(lane, lane.rows, lane.slot) for lane in lanes]
        states = [lane.state for lane, count, _ in rows for _ in range(count)]
        timesteps = [lane.spec.plan.timesteps[lane.state.index] for lane, count, _ in rows for _ in range(count)]
        return {
            "latent": np.array([state.latent for state in states]),
            "timestep": np.array(timesteps, np.int64),
            **self._constant(tuple(rows)),
            **self._references.of(tuple((lane.spec, lane.state.index) for lane in lanes)),
            **bank,
        }

    def expect(self, lanes: Sequence[Lane], then: Callable[[], None] = lambda: None) -> None:
        """The next call of `feeds` will be for the step after the next one of these, but for those that are done then;
        unless others come or some leave. Their reference inputs are prepared meanwhile, and then `then` is called."""
        steps = ((lane.spec, lane.state.index + 1) for lane in lanes)
        self._references.prepare(tuple((spec, step) for spec, step in steps if step < len(spec.plan)), then)

    def close(self) -> None:
        """Prepare nothing more."""
        self._references.close()


def parts(lanes: Sequence[Lane], max_pixels: int) -> Iterator[list[Lane]]:
    """Lanes of one size class, in order, in runs of at most `max_pixels` latent pixels or one lane; 0 = all in one."""
    height, width = lanes[0].spec.size_class
    most = max_pixels // (height * width) if max_pixels else math.inf
    part: list[Lane] = []
    rows = 0
    for lane in lanes:
        if part and rows + lane.rows > most:
            yield part
            part, rows = [], 0
        part.append(lane)
        rows += lane.rows
    yield part


def split_noise(lanes: Sequence[Lane], noise: FloatArray) -> list[FloatArray]:
    """The denoiser's output [rows, 4, h, w] → the guided noise [4, h, w] of every lane."""
    first, last, scales = _halves(tuple((lane.rows, lane.spec.guidance_scale) for lane in lanes))
    # one row is its own negative, and stays what it is; all lanes at once, as each by itself to the bit
    return list(guide(noise[first], noise[last], scales))


@lru_cache(64)
def _halves(lanes: tuple[tuple[int, float], ...]) -> tuple[_Rows, _Rows, FloatArray]:
    """Of lanes given by rows and guidance scale: their negative rows, their positive ones, the scales [n, 1, 1, 1]."""
    ends = list(itertools.accumulate(rows for rows, _ in lanes))
    first = np.array([end - rows for end, (rows, _) in zip(ends, lanes, strict=True)])
    scales = np.array([scale for _, scale in lanes], np.float32)
    return first, np.array(ends) - 1, scales[:, None, None, None]


def _constant_feeds(rows: tuple[tuple[Lane, int, int | None], ...]) -> Feeds:
    """The inputs that stay while the same lanes have the same rows and slots."""
    lanes = [lane for lane, _, _ in rows]
    counts = [count for _, count, _ in rows]
    slots = [slot or 0 for _, _, slot in rows]
    return {
        "context": np.concatenate([lane.row_contexts for lane in lanes]),
        "slot": np.repeat(np.array(slots, np.int64), counts),
        "image_guidance": np.array([strength for lane in lanes for strength in lane.row_strengths], np.float32),
    }
