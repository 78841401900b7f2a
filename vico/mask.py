"""The mask: which patches of a reference photo show the concept.

Source: ViCo (arXiv 2306.00971, section 3.3) and its reference implementation, `otsu` in `ldm/modules/attention.py`.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor

# `k * 0.1` as published, not `k / 10`: in float64 three of the ten differ in the last bit
THRESHOLDS = tuple(k * 0.1 for k in range(10))


def normalise(attention: Tensor) -> Tensor:
    """(a − min) / (max − min) of every row of [B, N]; a constant row gives not-a-number, as published."""
    low, high = attention.amin(dim=-1, keepdim=True), attention.amax(dim=-1, keepdim=True)
    return (attention - low) / (high - low)


def otsu_threshold(values: Tensor) -> Tensor:
    """Otsu's threshold among ten candidates: normalised values [B, N] → [B, 1].

    The score of a candidate is |low|/n · |high|/n · (mean(low) − mean(high))² with low = {< thr}, high = {≥ thr};
    the first candidate with the greatest score wins, 0 when none scores above 0.
    """
    candidates = torch.tensor(THRESHOLDS, dtype=values.dtype, device=values.device)
    low = (rearrange(values, "b n -> b 1 n") < rearrange(candidates, "k -> k 1")).to(values.dtype)
    count, total = values.shape[-1], values.sum(dim=-1, keepdim=True)
    low_count, low_total = low.sum(dim=-1), (low * rearrange(values, "b n -> b 1 n")).sum(dim=-1)
    high_count, high_total = count - low_count, total - low_total
    # an empty side has the factor |side| = 0: the clamp only keeps its mean finite
    gap = low_total / low_count.clamp(min=1) - high_total / high_count.clamp(min=1)
    score = (low_count / count) * (high_count / count) * gap**2
    best = score.amax(dim=-1, keepdim=True)
    # candidates ascend, so the least among the best is the first; all scores 0 selects candidate 0 = threshold 0
    return torch.where(score == best, candidates, THRESHOLDS[-1]).amin(dim=-1, keepdim=True)


def reference_mask(attention: Tensor) -> Tensor:
    """Patches that show the concept: text attention to the placeholder [B, N] → boolean mask [B, N], True = kept.

    A patch is kept when its normalised attention is at least Otsu's threshold and not 0. A constant row, where the
    published code divides 0 by 0, keeps every patch, as there. No gradient flows through the mask.
    """
    attention = attention.detach()
    if attention.dtype in (torch.float16, torch.bfloat16):
        attention = attention.float()
    constant = attention.amax(dim=-1, keepdim=True) == attention.amin(dim=-1, keepdim=True)
    values = torch.where(constant, torch.ones_like(attention), normalise(attention))
    return (values >= otsu_threshold(values)) & (values != 0)


def prune(features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Only the kept of features [B, M, C] and mask [B, M] → [B, L, C], [B, L]; L = the most that a row keeps.

    Attention over the result equals attention over all of them under the mask: a dropped token has no weight in it. A
    row that keeps none attends uniformly, and so keeps the mean of all as its one token.
    """
    kept = mask.bool()
    length = max(int(kept.sum(dim=-1).amax()), 1)
    # a stable sort puts the kept ones first, in their order
    order = kept.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :length]
    chosen = features.gather(1, repeat(order, "b l -> b l c", c=features.shape[-1]))
    here = kept.gather(1, order)
    empty = ~here.any(dim=-1)
    first = torch.arange(length, device=mask.device) == 0
    alone = rearrange(empty, "b -> b 1") & first
    mean = features.mean(dim=1, keepdim=True)
    return torch.where(rearrange(alone, "b l -> b l 1"), mean, chosen), here | alone
