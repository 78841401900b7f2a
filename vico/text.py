"""Prompts through CLIP's text encoder, with a concept's learned vectors in the placeholder's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from vico.base import Base
from vico.concept import TokenizedPrompt, tokenize_prompt
from vico.errors import BaseError

if TYPE_CHECKING:
    from transformers import CLIPTextModel


@dataclass(frozen=True)
class PromptBatch:
    """Tokenised prompts as tensors."""

    input_ids: Tensor  # [B, 77] int64
    placeholder_position: Tensor  # [B, V] int64, -1 = none
    attention_position: Tensor  # [B] int64: the placeholder, or the end of text without one
    end_of_text_position: Tensor  # [B] int64: first end-of-text token


def tokenize_prompts(
    base: Base, prompts: Sequence[str], placeholder: str | None = None, vectors: int = 1
) -> PromptBatch:
    """Tokenise `prompts`; each must hold `placeholder` once if one is given.

    Raises:
        PromptError: a placeholder is absent, repeated, or beyond the encoder's window.
    """
    spec = base.tokenizer_spec
    rows = [tokenize_prompt(prompt, base.encode_text, spec, placeholder, vectors) for prompt in prompts]
    return prompt_batch(rows, vectors, base.device)


def prompt_batch(rows: Sequence[TokenizedPrompt], vectors: int, device: torch.device | str = "cpu") -> PromptBatch:
    """Tokenised prompts, some perhaps without a placeholder, as one batch."""
    positions = [row.placeholder_positions or (-1,) * vectors for row in rows]
    return PromptBatch(
        input_ids=torch.tensor([row.input_ids for row in rows], device=device),
        placeholder_position=torch.tensor(positions, device=device),
        attention_position=torch.tensor([row.attention_position for row in rows], device=device),
        end_of_text_position=torch.tensor([row.end_position for row in rows], device=device),
    )


def encode_prompts(
    text_encoder: CLIPTextModel,
    input_ids: Tensor,
    placeholder_position: Tensor | None = None,
    token_embedding: Tensor | None = None,
) -> Tensor:
    """Context of prompts: the last hidden state after the final norm, as diffusers' Stable Diffusion takes it.

    input_ids [B, 77]; placeholder_position [B, V] (-1 = none) and token_embedding [B, V, D]: the learned vectors that
    replace the token embeddings at those positions, before the position embedding. → [B, 77, D].

    Raises:
        BaseError: the text encoder was not loaded with scaled-dot-product attention (`load_base` does).
    """
    # transformers 5 has the layers on the model itself, 4 under `text_model`
    model = getattr(text_encoder, "text_model", text_encoder)
    if model.config._attn_implementation != "sdpa":
        raise BaseError("text_encoder", "causal attention is only asked of scaled-dot-product attention", "sdpa")
    embeddings = model.embeddings.token_embedding(input_ids)
    if placeholder_position is not None and token_embedding is not None:
        embeddings = splice(embeddings, placeholder_position, token_embedding)
    hidden = model.embeddings(inputs_embeds=embeddings)
    # without a mask matrix the attention runs as a fused causal one
    hidden = model.encoder(inputs_embeds=hidden, attention_mask=None, is_causal=True).last_hidden_state
    context: Tensor = model.final_layer_norm(hidden)
    return context


def splice(embeddings: Tensor, positions: Tensor, replacements: Tensor) -> Tensor:
    """Put replacements [B, V, D] into embeddings [B, T, D] at positions [B, V]; -1 puts nothing. → [B, T, D]."""
    places = torch.arange(embeddings.shape[1], device=embeddings.device)
    here = rearrange(positions, "b v -> b v 1") == places  # [B, V, T]
    spread = here.to(embeddings.dtype).transpose(1, 2) @ replacements.to(embeddings.dtype)
    return torch.where(rearrange(here.any(dim=1), "b t -> b t 1"), spread, embeddings)
