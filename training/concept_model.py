"""What is trained: one token embedding and the image attention blocks, on a frozen base."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from training.batches import Batch
from training.errors import TrainingError
from training.losses import PUBLISHED, Losses, Objective, kept_error, min_snr_weight, noise_error, regularise
from vico.base import Base
from vico.concept import ReferenceContext
from vico.image_attention import ImageAttentionBlock
from vico.loaded_concept import LoadedConcept
from vico.mask import prune
from vico.sites import sites_at
from vico.streams import ReferenceFeatures, denoise, reference_features
from vico.text import PromptBatch, encode_prompts
from vico.unet import predict_noise


class ConceptModel(nn.Module):
    """The trainable part; its parameters and nothing else are the module's state.

    Blocks of sites that are not among `sites` (numbers; () = all) stay the identity and are not run.

    Raises:
        TrainingError: the init word is empty, or the base has no such site.
    """

    def __init__(
        self, base: Base, init_word: str, vectors: int, *, zero_init: bool, seed: int, sites: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.base = base
        self.initial_token = initial_embedding(base, init_word).repeat(vectors, 1)  # [V, D]
        self.token_embedding = nn.Parameter(self.initial_token.clone())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.blocks = nn.ModuleList(
                ImageAttentionBlock(site.channels, site.heads).to(base.device) for site in base.sites
            )
        self._numbers = _known(sites, len(base.sites))
        self._sites = sites_at(base.unet, [base.sites[i].name for i in self._numbers])
        for i, block in enumerate(self.image_blocks):
            if zero_init or i not in self._numbers:
                block.zero_outputs()
            block.requires_grad_(i in self._numbers)
        self.powers = torch.tensor(base.schedule.alphas_cumprod(), device=base.device, dtype=torch.float32)
        self.signal, self.spread = self.powers.sqrt(), (1 - self.powers).sqrt()

    @property
    def image_blocks(self) -> list[ImageAttentionBlock]:
        """The blocks in the order of the base's sites."""
        return [block for block in self.blocks if isinstance(block, ImageAttentionBlock)]

    def forward(self, batch: Batch, regulariser_weight: float, objective: Objective = PUBLISHED) -> Losses:
        """ε-prediction error of a batch plus the weighted attention regulariser (ViCo, section 3.4)."""
        noisy = (
            rearrange(self.signal[batch.timestep], "b -> b 1 1 1") * batch.latent
            + rearrange(self.spread[batch.timestep], "b -> b 1 1 1") * batch.noise
        )
        # without a token to train no gradient is needed before the first site, and so none is kept there
        with _graph(not objective.token_frozen):
            context = self._encode(batch.prompts)
        references = self._references(batch, context, objective)
        features, masks = _side_by_side(references, batch.reference_latent.shape[1])
        predicted = denoise(
            self.base.unet,
            self._sites,
            [self.image_blocks[i] for i in self._numbers],
            noisy,
            batch.timestep,
            context,
            [f.detach() for f in features] if objective.detach else features,
            masks,
            batch.image_guidance,
        )
        gamma = objective.min_snr_gamma
        weight = min_snr_weight(self.powers[batch.timestep], gamma) if gamma else None
        error, plain = noise_error(predicted, batch.noise, batch.area, weight)
        regulariser = regularise(references, objective.regulariser)
        total = error + regulariser_weight * regulariser
        if objective.preservation and batch.outside is not None:
            kept = kept_error(predicted, self._plain(batch, noisy), batch.outside, weight)
            total = total + objective.preservation * kept
        return Losses(total, plain, regulariser)

    def concept(
        self,
        placeholder: str,
        references: Tensor,
        reference_context: ReferenceContext = "prompt",
        negative_image_guidance: float = 1.0,
    ) -> LoadedConcept:
        """The concept as it stands, for sampling: references [R, 4, h, w] clean latents; the rest as in its package."""
        return LoadedConcept(
            placeholder=placeholder,
            token_embedding=self.token_embedding.detach(),
            blocks=[{name: p.detach() for name, p in block.named_parameters()} for block in self.image_blocks],
            references=references,
            reference_context=reference_context,
            negative_image_guidance=negative_image_guidance,
        )

    @torch.no_grad()
    def hold_token(self, pull: float, *, norm: bool) -> None:
        """Draw the token towards its beginning by the share `pull`, and give it its first norm back."""
        if pull:
            self.token_embedding.lerp_(self.initial_token, min(pull, 1.0))
        if norm:
            now, then = (t.norm(dim=-1, keepdim=True) for t in (self.token_embedding, self.initial_token))
            self.token_embedding.mul_(then / now.clamp(min=torch.finfo(now.dtype).tiny))

    @torch.no_grad()
    def _plain(self, batch: Batch, noisy: Tensor) -> Tensor:
        """ε [B, 4, h, w] of the base alone, the init word where the placeholder stands."""
        context = self._encode(batch.prompts, self.initial_token)
        return predict_noise(self.base.unet, noisy, batch.timestep, context)

    def _encode(self, prompts: PromptBatch, token: Tensor | None = None) -> Tensor:
        """The caption with the learned token, or with another [V, D]."""
        token = repeat(self.token_embedding if token is None else token, "v d -> b v d", b=prompts.input_ids.shape[0])
        return encode_prompts(self.base.text_encoder, prompts.input_ids, prompts.placeholder_position, token)

    def _references(self, batch: Batch, context: Tensor, objective: Objective) -> tuple[ReferenceFeatures, ...]:
        """The reference stream of B rows of K photos each, as B·K rows."""
        prompts, (b, k) = batch.reference_prompts or batch.prompts, batch.reference_latent.shape[:2]
        regularised = objective.regulariser != "none"
        # the features may go without a graph; the regulariser's attention still wants one
        with _graph(not objective.token_frozen and (regularised or not objective.detach)):
            read = context if batch.reference_prompts is None else self._encode(prompts)
            rows = b * k // read.shape[0]
            return reference_features(
                self.base.unet,
                self._sites,
                rearrange(batch.reference_latent, "b k c h w -> (b k) c h w"),
                repeat(batch.timestep, "b -> (b k)", k=k),
                _for_rows(read, rows),
                _for_rows(prompts.attention_position, rows),
                _for_rows(prompts.end_of_text_position, rows) if regularised else None,
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


def _side_by_side(references: Sequence[ReferenceFeatures], k: int) -> tuple[list[Tensor], list[Tensor]]:
    """Per site features [B, K·N, C] and mask [B, K·N]; of several photos only the kept patches."""
    if k == 1:
        return [r.features for r in references], [r.mask for r in references]
    pruned = [
        prune(rearrange(r.features, "(b k) n c -> b (k n) c", k=k), rearrange(r.mask, "(b k) n -> b (k n)", k=k))
        for r in references
    ]
    return [features for features, _ in pruned], [mask for _, mask in pruned]


def _for_rows(tensor: Tensor, rows: int) -> Tensor:
    """Every row `rows` times; the tensor itself for 1, lest gradients add up in another order than as published."""
    return tensor if rows == 1 else tensor.repeat_interleave(rows, dim=0)


def _known(sites: Sequence[int], count: int) -> tuple[int, ...]:
    if unknown := sorted(set(sites) - set(range(count))):
        raise TrainingError("sites", f"{', '.join(map(str, unknown))} not among them", f"0 to {count - 1}")
    return tuple(sorted(set(sites))) or tuple(range(count))


def _graph(wanted: bool) -> AbstractContextManager[None]:
    return nullcontext() if wanted else torch.no_grad()
