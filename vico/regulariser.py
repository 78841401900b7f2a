"""The attention regulariser: the placeholder looks where the end-of-text token looks.

Source: ViCo (arXiv 2306.00971, section 3.4); published weight 5e-4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def attention_regulariser(placeholder: Sequence[Tensor], end_of_text: Sequence[Tensor]) -> Tensor:
    """Σ over the sites of MSE(a_S / max(a_S), a_EOT / max(a_EOT)), the maxima per row; a_EOT carries no gradient.

    Both arguments hold one [B, N_i] of text attention per site. → scalar, not yet weighted.
    """
    terms = [
        torch.nn.functional.mse_loss(_peak_one(a), _peak_one(b.detach()))
        for a, b in zip(placeholder, end_of_text, strict=True)
    ]
    return torch.stack(terms).sum()


def _peak_one(attention: Tensor) -> Tensor:
    return attention / attention.amax(dim=-1, keepdim=True)
