"""Stable Diffusion 1.5, and a small architecture of the same kind for tests."""

from __future__ import annotations

from dataclasses import replace

from vico.interop.sd1 import SD1, Architecture

__all__ = ["SD15", "TINY", "Architecture"]

SD15 = SD1
TINY = replace(
    SD1,
    unet={**SD1.unet, "sample_size": 8, "block_out_channels": (32, 32, 64, 64), "cross_attention_dim": 32},
    vae={**SD1.vae, "sample_size": 64, "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 8},
    text_encoder={
        **SD1.text_encoder,
        "vocab_size": 4096,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
)
"""The same levels and sites, a thousandth of the weights."""
