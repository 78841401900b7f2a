"""The image attention block: queries from the picture, keys and values from the reference, dropped where masked.

Source: ViCo (arXiv 2306.00971, section 3.2); layout of diffusers' `BasicTransformerBlock`, so that published
checkpoints load under their own names. The mask is not a bias matrix but one extra channel of queries and keys, which
lets every runtime use its fused attention.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

# logit of a dropped patch before the 1/sqrt(head width) scale: inside the range of float16, and after the scale
# (head widths up to 256) still under the smallest exponential of float64
_DROPPED = -3e4
# fused attention kernels want head widths in multiples of this
_HEAD_MULTIPLE = 8
_LAYER_NORM_EPS = 1e-5


def image_attention(
    x: Tensor,
    reference: Tensor,
    mask: Tensor,
    weights: Mapping[str, Tensor],
    heads: int,
    image_guidance: Tensor | None = None,
) -> Tensor:
    """The block as a function of its weights.

    x [B, N, C], reference [B, M, C], mask [B, M] (1 or True = kept; an empty mask attends uniformly),
    weights: the tensors named in `vico.concept.BLOCK_TENSORS`, each with a leading batch dimension ([B, out, in] or
    [B, out]: every row its own concept) or without one (shared by all rows).
    image_guidance [B] scales what the block adds: x + g · (block(x) − x); 0 gives exactly `x`, whatever the weights:
    a row without a concept names somebody else's. → [B, N, C].
    """
    after = x
    query = _layer_norm(after, weights, "norm1")
    after = after + _attend(query, query, None, weights, "attn1", heads)
    after = after + _attend(_layer_norm(after, weights, "norm2"), reference, mask, weights, "attn2", heads)
    after = after + _feed_forward(_layer_norm(after, weights, "norm3"), weights)
    if image_guidance is None:
        return after
    scale = rearrange(image_guidance, "b -> b 1 1")
    # 0 times what overflowed is no number
    return torch.where(scale == 0, x, x + scale * (after - x))


class ImageAttentionBlock(nn.Module):
    """The block as a module; parameter names are those of diffusers' `BasicTransformerBlock`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.channels, self.heads = channels, heads
        self.norm1 = nn.LayerNorm(channels, eps=_LAYER_NORM_EPS)
        self.attn1 = _Attention(channels)
        self.norm2 = nn.LayerNorm(channels, eps=_LAYER_NORM_EPS)
        self.attn2 = _Attention(channels)
        self.norm3 = nn.LayerNorm(channels, eps=_LAYER_NORM_EPS)
        self.ff = _FeedForward(channels)

    def forward(self, x: Tensor, reference: Tensor, mask: Tensor, image_guidance: Tensor | None = None) -> Tensor:
        """Shapes as in `image_attention`, which it calls."""
        return image_attention(x, reference, mask, dict(self.named_parameters()), self.heads, image_guidance)

    def zero_outputs(self) -> None:
        """Start as the identity: zero the three projections that write into the residual stream."""
        for layer in (self.attn1.to_out[0], self.attn2.to_out[0], self.ff.net[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class _Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])


class _FeedForward(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        gate = nn.Module()
        gate.proj = nn.Linear(channels, 8 * channels)  # GEGLU: value and gate, four times the width each
        self.net = nn.ModuleList([gate, nn.Identity(), nn.Linear(4 * channels, channels)])


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled-dot-product attention over the kept keys: q [B, H, N, d], k, v [B, H, M, d], mask [B, M] → [B, H, N, d].

    The mask is one more channel: 1 in every query, 0 in a kept key and a large negative number in a dropped one. An
    empty mask multiplies the queries by 0, so that attention is uniform, as published.
    """
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v)
    width = q.shape[-1]
    kept = mask.to(q.dtype)
    nonempty = rearrange(kept.amax(dim=-1), "b -> b 1 1 1")
    dropped = rearrange(_DROPPED * (1 - kept), "b m -> b 1 m 1").expand(-1, k.shape[1], -1, -1)
    query = torch.cat([q * nonempty, nonempty.expand_as(q[..., :1])], dim=-1)
    key = torch.cat([k, dropped], dim=-1)
    # query, key and value keep one common width: kernels without that fall back to a full score matrix
    padding = -(width + 1) % _HEAD_MULTIPLE
    query, key = F.pad(query, (0, padding)), F.pad(key, (0, padding))
    value = F.pad(v, (0, padding + 1))
    return F.scaled_dot_product_attention(query, key, value, scale=width**-0.5)[..., :width]


def _attend(
    x: Tensor, source: Tensor, mask: Tensor | None, weights: Mapping[str, Tensor], name: str, heads: int
) -> Tensor:
    q, k, v = (
        rearrange(_linear(tokens, weights[f"{name}.{part}.weight"]), "b n (h d) -> b h n d", h=heads)
        for tokens, part in ((x, "to_q"), (source, "to_k"), (source, "to_v"))
    )
    attended = rearrange(masked_attention(q, k, v, mask), "b h n d -> b n (h d)")
    return _linear(attended, weights[f"{name}.to_out.0.weight"], weights[f"{name}.to_out.0.bias"])


def _feed_forward(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    value, gate = _linear(x, weights["ff.net.0.proj.weight"], weights["ff.net.0.proj.bias"]).chunk(2, dim=-1)
    return _linear(value * F.gelu(gate), weights["ff.net.2.weight"], weights["ff.net.2.bias"])


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [B, N, in] through a weight [out, in] shared by all rows or [B, out, in] of each row."""
    if weight.dim() == 2:
        return F.linear(x, weight, bias)
    y = x @ weight.transpose(1, 2)
    return y if bias is None else y + rearrange(bias, "b c -> b 1 c")


def _layer_norm(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if scale.dim() == 1:
        return F.layer_norm(x, x.shape[-1:], scale, shift, _LAYER_NORM_EPS)
    normed = F.layer_norm(x, x.shape[-1:], eps=_LAYER_NORM_EPS)
    return normed * rearrange(scale, "b c -> b 1 c") + rearrange(shift, "b c -> b 1 c")
