"""Names and shapes of a concept's tensors."""

from __future__ import annotations

TOKEN_EMBEDDING = "token_embedding"
REFERENCES = "references"
LATENT_CHANNELS = 4


def block_tensor_shapes(channels: int) -> dict[str, tuple[int, ...]]:
    """Shapes of one image attention block's tensors at inner width `channels`, in the order of the block.

    Names are those of diffusers' `BasicTransformerBlock` and of the published checkpoints: pre-norm self-attention,
    cross-attention to the reference features (context width = inner width), GEGLU feed-forward x4.
    """
    width, vector, square = channels, (channels,), (channels, channels)
    shapes: dict[str, tuple[int, ...]] = {}
    for attention, norm in (("attn1", "norm1"), ("attn2", "norm2")):
        shapes |= {f"{norm}.weight": vector, f"{norm}.bias": vector}
        shapes |= {f"{attention}.{name}.weight": square for name in ("to_q", "to_k", "to_v")}
        shapes |= {f"{attention}.to_out.0.weight": square, f"{attention}.to_out.0.bias": vector}
    shapes |= {"norm3.weight": vector, "norm3.bias": vector}
    shapes |= {"ff.net.0.proj.weight": (8 * width, width), "ff.net.0.proj.bias": (8 * width,)}
    shapes |= {"ff.net.2.weight": (width, 4 * width), "ff.net.2.bias": vector}
    return shapes


BLOCK_TENSORS: tuple[str, ...] = tuple(block_tensor_shapes(1))
"""The twenty tensor names of one image attention block."""


def image_attention_key(site: str, tensor: str) -> str:
    """The package's name of one tensor, e.g. `image_attention.up_blocks.1.attentions.1.attn2.to_q.weight`."""
    return f"image_attention.{site}.{tensor}"
