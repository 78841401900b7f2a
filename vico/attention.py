"""Columns of the text cross-attention: how much every patch attends to one token of the prompt.

Source: ViCo reference implementation, `ldm/modules/attention.py` (softmax over the tokens, mean over the heads).
"""

from __future__ import annotations

from typing import Any

from einops import rearrange, repeat
from torch import Tensor


def block_with_columns(block: Any, hidden: Tensor, context: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """A diffusers `BasicTransformerBlock` that also returns columns of its text cross-attention.

    hidden [B, N, C], context [B, 77, D], positions [B, P] (token positions, 0 … 76)
    → tokens after the block [B, N, C], columns [B, P, N].
    """
    hidden = block.attn1(block.norm1(hidden)) + hidden
    query = block.norm2(hidden)
    columns = text_attention_columns(block.attn2, query, context, positions)
    hidden = block.attn2(query, encoder_hidden_states=context) + hidden
    return block.ff(block.norm3(hidden)) + hidden, columns


def text_attention_columns(attention: Any, query: Tensor, context: Tensor, positions: Tensor) -> Tensor:
    """Softmax over the text tokens, averaged over the heads, at the given token positions only.

    `attention` is a diffusers `Attention`; query [B, N, C] (normalised), context [B, 77, D], positions [B, P]
    → [B, P, N].
    """
    q = rearrange(attention.to_q(query), "b n (h d) -> b h n d", h=attention.heads)
    k = rearrange(attention.to_k(context), "b t (h d) -> b h d t", h=attention.heads)
    weights = (q @ k * attention.scale).softmax(dim=-1).mean(dim=1)  # [B, N, 77]
    index = repeat(positions, "b p -> b n p", n=weights.shape[1])
    columns: Tensor = weights.gather(2, index)
    return rearrange(columns, "b n p -> b p n")
