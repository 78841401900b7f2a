"""A learned embedding in the place of a word: in training captions, and in the concept that draws with it."""

from __future__ import annotations

import torch
from einops import repeat
from torch import Tensor

from vico.base import Base
from vico.loaded_concept import LoadedConcept
from vico.text import encode_prompts, tokenize_prompts

PLACEHOLDER = "*"
"""What stands for the learned embedding in captions and prompts."""


def learned_context(base: Base, captions: list[str], word: Tensor) -> Tensor:
    """Context [B, 77, D] of captions in which the placeholder stands for the vectors [V, D]."""
    prompts = tokenize_prompts(base, captions, PLACEHOLDER, len(word))
    embedding = repeat(word, "v d -> b v d", b=len(captions))
    return encode_prompts(base.text_encoder, prompts.input_ids, prompts.placeholder_position, embedding)


def learned_word(base: Base, word: Tensor) -> LoadedConcept:
    """A concept of nothing but the vectors [V, D]: its pictures are plain Stable Diffusion's."""
    side = int(base.unet.config["sample_size"])
    none = torch.empty(0, 4, side, side, device=base.device, dtype=base.dtype)
    return LoadedConcept(PLACEHOLDER, word.detach().to(base.device, base.dtype), (), none)
