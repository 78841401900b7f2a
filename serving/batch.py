"""Lanes → the denoiser's inputs, and its output → a noise prediction for every lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from serving.lane import FloatArray, Lane
from serving.references import ReferenceFeatures, SiteTokens
from serving.runner import Feeds
from vico.concept import SiteSpec
from vico.sampling import guide


def assemble(
    lanes: Sequence[Lane], sites: Sequence[SiteSpec], references: ReferenceFeatures, bank: Mapping[str, FloatArray]
) -> Feeds:
    """The denoiser's inputs for one step of `lanes`, all of one size class; a lane has one row or two."""
    rows = [lane for lane in lanes for _ in lane.row_contexts]
    return {
        "latent": np.stack([lane.state.latent for lane in rows]),
        "timestep": np.array([lane.remaining_timesteps[0] for lane in rows], np.int64),
        "context": np.concatenate([lane.row_contexts for lane in lanes]),
        "slot": np.array([lane.slot or 0 for lane in rows], np.int64),
        "image_guidance": np.array([strength for lane in lanes for strength in lane.row_strengths], np.float32),
        **_reference_feeds(row_tokens(lanes, sites, references)),
        **bank,
    }


def row_tokens(lanes: Sequence[Lane], sites: Sequence[SiteSpec], references: ReferenceFeatures) -> list[SiteTokens]:
    """Reference features of every row; one all-zero token per site for a row that reads no reference."""
    nothing = tuple(np.zeros((1, site.channels), np.float32) for site in sites)
    found = iter(references.at([asked for lane in lanes for asked in lane.row_streams]))
    return [next(found) if strength > 0 else nothing for lane in lanes for strength in lane.row_strengths]


def split_noise(lanes: Sequence[Lane], noise: FloatArray) -> list[FloatArray]:
    """The denoiser's output [rows, 4, h, w] → the guided noise [4, h, w] of every lane."""
    guided, row = [], 0
    for lane in lanes:
        count = len(lane.row_contexts)
        mine = noise[row : row + count]
        guided.append(mine[0] if count == 1 else guide(mine[0], mine[1], lane.spec.guidance_scale))
        row += count
    return guided


def _reference_feeds(rows: Sequence[SiteTokens]) -> dict[str, FloatArray]:
    feeds: dict[str, FloatArray] = {}
    for i, tokens in enumerate(zip(*rows, strict=True)):
        feeds[f"reference_features.{i}"], feeds[f"reference_mask.{i}"] = pad(tokens)
    return feeds


def pad(tokens: Sequence[FloatArray]) -> tuple[FloatArray, npt.NDArray[np.float32]]:
    """Rows [K_b, C] → features [B, M, C] and mask [B, M], M the longest; what is padded is masked out."""
    longest = max(len(row) for row in tokens)
    features = np.zeros((len(tokens), longest, tokens[0].shape[1]), np.float32)
    mask = np.zeros((len(tokens), longest), np.float32)
    for b, row in enumerate(tokens):
        features[b, : len(row)] = row
        mask[b, : len(row)] = 1.0
    return features, mask
