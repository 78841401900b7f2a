"""What is trained: one token embedding and the image attention blocks, on a frozen base."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from training.batches import Batch
from training.errors import TrainingError
from vico.base import Base
from vico.image_attention import ImageAttentionBlock
from vico.loaded_concept import LoadedConcept
from vico.streams import split_stream
from vico.text import encode_prompts


@dataclass(frozen=True)
class Losses:
    """Losses of one step, scalars."""

    total: Tensor  # what is differentiated
    noise: Tensor  # mean squared error of ε
    regulariser: Tensor  # not yet weighted


class ConceptModel(nn.Module):
    """The trainable part; its parameters and nothing else are the module's state."""

    def __init__(self, base: Base, init_word: str, vectors: int, *, zero_init: bool, seed: int) -> None:
        super().__init__()
        self.base = base
        self.token_embedding = nn.Parameter(initial_embedding(base, init_word).repeat(vectors, 1))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.blocks = nn.ModuleList(
                ImageAttentionBlock(site.channels, site.heads).to(base.device) for site in base.sites
            )
        if zero_init:
            for block in self.image_blocks:
                block.zero_outputs()
        powers = torch.tensor(base.schedule.alphas_cumprod(), device=base.device, dtype=torch.float32)
        self.signal, self.spread = powers.sqrt(), (1 - powers).sqrt()

    @property
    def image_blocks(self) -> list[ImageAttentionBlock]:
        """The blocks in the order of the sites."""
        return [block for block in self.blocks if isinstance(block, ImageAttentionBlock)]

    def forward(self, batch: Batch, regulariser_weight: float) -> Losses:
        """ε-prediction error of a batch plus the weighted attention regulariser (ViCo, section 3.4)."""
        noisy = (
            rearrange(self.signal[batch.timestep], "b -> b 1 1 1") * batch.latent
            + rearrange(self.spread[batch.timestep], "b -> b 1 1 1") * batch.noise
        )
        prompts = batch.prompts
        token = repeat(self.token_embedding, "v d -> b v d", b=noisy.shape[0])
        context = encode_prompts(self.base.text_encoder, prompts.input_ids, prompts.placeholder_position, token)
        output = split_stream(
            self.base.unet,
            self.base.sites,
            self.image_blocks,
            noisy,
            batch.reference_latent,
            batch.timestep,
            context,
            prompts.attention_position,
            prompts.end_of_text_position,
        )
        noise = F.mse_loss(output.noise.float(), batch.noise.float())
        regulariser = output.regulariser.float()
        return Losses(noise + regulariser_weight * regulariser, noise, regulariser)

    def concept(self, placeholder: str, references: Tensor) -> LoadedConcept:
        """The concept as it stands, for sampling: references [R, 4, h, w] clean latents."""
        return LoadedConcept(
            placeholder=placeholder,
            token_embedding=self.token_embedding.detach(),
            blocks=[{name: p.detach() for name, p in block.named_parameters()} for block in self.image_blocks],
            references=references,
        )


def initial_embedding(base: Base, init_word: str) -> Tensor:
    """Mean of the token embeddings of a word [D], in float32.

    Raises:
        TrainingError: the word is empty.
    """
    ids = base.encode_text(init_word)
    if not ids:
        raise TrainingError("init word", "it is empty", "a word for the kind of thing, such as 'toy'")
    table = base.text_encoder.get_input_embeddings().weight
    rows: Tensor = table[torch.tensor(ids, device=table.device)].detach().float()
    return rows.mean(dim=0)
