"""Pictures of several concepts at once: one context with all their words, an adapter and references for each.

At a site the picture's tokens become x + Σ_i w_i · g_i · (block_i(x) − x): what concept i's image attention adds, times
its strength g_i, only where its word is (w_i, `vico.several.placing`). ViCo (arXiv 2306.00971) names this as open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from vico.base import Base
from vico.image_attention import image_attention
from vico.loaded_concept import LoadedConcept
from vico.pipeline import PictureRequest, PipelineError, for_rows, reference_tokens, sample_latents, to_pictures
from vico.sampling import guide
from vico.several.encode import Member, SeveralPrompted, encode_several
from vico.several.placing import Placing, shares, site_weights, text_maps
from vico.sites import Site
from vico.unet import predict_noise, run_block


@dataclass(frozen=True)
class _Acting:
    """A concept at one timestep, in all rows of a batch."""

    concept: LoadedConcept
    features: list[Tensor]  # per site [G·n, R·N, C]
    masks: list[Tensor]  # per site [G·n, R·N]
    weights: list[Tensor]  # per site [G·n, N]: where it acts, times how strongly


@torch.no_grad()
def generate_several(
    base: Base,
    request: PictureRequest,
    concepts: Mapping[str, LoadedConcept],
    image_guidance: Mapping[str, float] | None = None,
    placing: Placing | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Image.Image]:
    """RGB pictures of a prompt such as "a photo of a *a next to a *b"; `concepts` says which placeholder is whose.

    A concept's own placeholder is of no account here. `image_guidance` gives placeholders a strength of their own in
    place of the request's. In guidance's negative half each concept acts as its `negative_image_guidance` says, where
    the positive half has it. One concept alone and no background (`Placing.background`) gives the picture of
    `vico.pipeline.generate`.

    Raises:
        PromptError: a placeholder is empty, absent, repeated or beyond the window, or a word such as "*c" is none.
        PipelineError: a number is out of range, or a strength is given to no placeholder.
        SamplerError: unknown sampler or impossible step count.
    """
    latent = generate_several_latents(base, request, concepts, image_guidance, placing, on_step)
    return to_pictures(base.vae.decode(latent / base.scaling_factor).sample)


@torch.no_grad()
def generate_several_latents(
    base: Base,
    request: PictureRequest,
    concepts: Mapping[str, LoadedConcept],
    image_guidance: Mapping[str, float] | None = None,
    placing: Placing | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """As `generate_several`, up to the latents [n, 4, h, w], scaled."""
    strengths = _strengths(request, concepts, image_guidance or {})
    prompted = encode_several(base, request, concepts)

    def predict(latent: Tensor, timestep: int, guided: bool) -> Tensor:
        halves = prompted if guided else prompted.positive
        return _predict(base, request, halves, strengths, placing or Placing(), latent, timestep)

    return sample_latents(base, request, predict, on_step)


def _predict(
    base: Base,
    request: PictureRequest,
    prompted: SeveralPrompted,
    strengths: Sequence[float],
    placing: Placing,
    latent: Tensor,
    timestep: int,
) -> Tensor:
    """Guided ε [n, 4, h, w] of n pictures at one timestep."""
    n, halves = latent.shape[0], prompted.context.shape[0]
    positions = [member.position for member in prompted.members]
    maps = text_maps(base, latent, timestep, prompted.context[-1:], positions)
    weights = site_weights(shares(maps, placing), base.sites, latent)  # per site [K, n, N]
    acting = [
        _act(base, member, strength, [site[k] for site in weights], halves, timestep)
        for k, (member, strength) in enumerate(zip(prompted.members, strengths, strict=True))
        if member.concept.blocks and strength
    ]

    def attend(site: Site, block: Any, hidden: Tensor, context: Tensor) -> Tensor:
        x = run_block(block, hidden, context)
        return x + sum((_added(one, site, x) for one in acting), torch.zeros_like(x))

    noise = predict_noise(
        base.unet,
        repeat(latent, "n c h w -> (g n) c h w", g=halves),
        torch.full((halves * n,), timestep, device=base.device),
        repeat(prompted.context, "g t d -> (g n) t d", n=n),
        base.sites,
        attend,
    )
    if halves == 1:
        return noise
    negative, positive = noise.chunk(2)
    return guide(negative, positive, request.guidance_scale)


def _act(base: Base, member: Member, strength: float, weights: Sequence[Tensor], halves: int, timestep: int) -> _Acting:
    """weights: per site [n, N] of the positive half."""
    features, masks = reference_tokens(base, member.prompted, member.concept, timestep)
    rows = halves * weights[0].shape[0]
    by_half = [strength * share for share in (member.concept.negative_image_guidance, 1.0)][-halves:]
    return _Acting(
        member.concept,
        [for_rows(f, rows) for f in features],
        [for_rows(m, rows) for m in masks],
        [torch.cat([strength_here * w for strength_here in by_half]) for w in weights],
    )


def _added(one: _Acting, site: Site, x: Tensor) -> Tensor:
    """What a concept adds to x [B, N, C]."""
    i = site.index
    after = image_attention(x, one.features[i], one.masks[i], one.concept.blocks[i], site.heads)
    return rearrange(one.weights[i], "b n -> b n 1") * (after - x)


def _strengths(request: PictureRequest, concepts: Mapping[str, LoadedConcept], own: Mapping[str, float]) -> list[float]:
    """Image guidance of every concept, in order."""
    for placeholder, strength in own.items():
        if placeholder not in concepts:
            raise PipelineError(
                "image_guidance", f"{placeholder!r} stands for no concept", ", ".join(map(repr, concepts))
            )
        if not (math.isfinite(strength) and strength >= 0):
            raise PipelineError("image_guidance", f"{strength} is out of range", "at least 0, finite")
    return [own.get(placeholder, request.image_guidance) for placeholder in concepts]
