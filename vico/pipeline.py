"""Pictures from a base, with or without a concept: the plain torch pipeline that every other one is held against."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from vico.base import Base
from vico.concept import TokenizedPrompt, reference_prompt, tokenize_prompt
from vico.errors import VicoError
from vico.loaded_concept import LoadedConcept
from vico.sampling import ALWAYS, GuidanceInterval, SamplerState, advance, guide, initial_noise, make_plan
from vico.streams import denoise, reference_features
from vico.text import encode_prompts, prompt_batch
from vico.unet import predict_noise


class PipelineError(VicoError):
    """A picture that cannot be made as asked."""


@dataclass(frozen=True)
class PictureRequest:
    """What to make; the fields of the wire (docs/architecture.md), with the same defaults."""

    prompt: str
    negative_prompt: str = ""
    seed: int = 0  # image k uses noise (seed, k)
    steps: int = 25
    sampler: str = "dpmpp_2m"
    guidance_scale: float = 7.5  # 1 = no guidance
    image_guidance: float = 1.0  # strength of the concept
    height: int = 0  # pixels; 0 = the base's own size
    width: int = 0
    num_images: int = 1
    guidance_interval: GuidanceInterval = ALWAYS  # noise levels at which guidance_scale applies


@dataclass(frozen=True)
class Prompted:
    """The halves of guidance, negative first; one row without guidance."""

    context: Tensor  # [G, 77, D]
    reference_context: Tensor  # [K, 77, D] what the reference stream reads: K = G, or one row that the halves share
    attention_position: Tensor  # [K]: the mask's, one number throughout

    @property
    def positive(self) -> Prompted:
        """The positive half alone."""
        return Prompted(self.context[-1:], self.reference_context[-1:], self.attention_position[-1:])


@torch.no_grad()
def generate(
    base: Base,
    request: PictureRequest,
    concept: LoadedConcept | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Image.Image]:
    """Make `request.num_images` RGB pictures; `on_step(done, of)` is called after every step.

    With a concept, both halves of guidance attend to the reference stream, as published, or the negative one less or
    not at all (`LoadedConcept.negative_image_guidance`); the stream reads each half's prompt, or for both the fixed one
    of the concept (`LoadedConcept.reference_context`).

    Raises:
        PipelineError: a number is out of range.
        PromptError: the prompt does not hold the concept's placeholder exactly once.
        SamplerError: unknown sampler or impossible step count.
    """
    latent = generate_latents(base, request, concept, on_step)
    return to_pictures(base.vae.decode(latent / base.scaling_factor).sample)


@torch.no_grad()
def generate_latents(
    base: Base,
    request: PictureRequest,
    concept: LoadedConcept | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """As `generate`, up to the latents [n, 4, h, w], scaled."""
    prompted = _encode(base, request, concept)

    def predict(latent: Tensor, timestep: int, guided: bool) -> Tensor:
        return _predict(base, prompted if guided else prompted.positive, concept, request, latent, timestep)

    return sample_latents(base, request, predict, on_step)


@torch.no_grad()
def sample_latents(
    base: Base,
    request: PictureRequest,
    predict: Callable[[Tensor, int, bool], Tensor],
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """From the request's noise to latents [n, 4, h, w], scaled.

    `predict(latent [n, 4, h, w], timestep, guided)` gives ε; `guided` is False outside `guidance_interval`.
    """
    shape = _latent_shape(base, request)
    plan = make_plan(request.sampler, request.steps, base.schedule)
    noise = np.stack([initial_noise(request.seed, k, shape) for k in range(request.num_images)])
    state: SamplerState[Tensor] = SamplerState(torch.from_numpy(noise).to(base.device, base.dtype))
    for step in plan.steps:
        predicted = predict(state.latent, step.timestep, request.guidance_interval.contains(step))
        state = advance(plan, state, predicted)
        if on_step is not None:
            on_step(state.index, len(plan))
    return state.latent


def encode_pictures(base: Base, pictures: Sequence[Image.Image]) -> Tensor:
    """Clean latents of RGB pictures of one size: the VAE's mode, scaled. → [B, 4, h, w]."""
    pixels = torch.from_numpy(np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures]))
    pixels = rearrange(pixels / 127.5 - 1, "b h w c -> b c h w").to(base.device, base.dtype)
    with torch.no_grad():
        mode: Tensor = base.vae.encode(pixels).latent_dist.mode()
    return mode * base.scaling_factor


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """[B, 3, H, W] in [−1, 1] → RGB pictures."""
    levels = (pixels.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(array) for array in rearrange(levels, "b c h w -> b h w c").cpu().numpy()]


def _predict(
    base: Base,
    prompted: Prompted,
    concept: LoadedConcept | None,
    request: PictureRequest,
    latent: Tensor,
    timestep: int,
) -> Tensor:
    """Guided ε [n, 4, h, w] of n pictures at one timestep."""
    n, halves = latent.shape[0], prompted.context.shape[0]
    rows = repeat(latent, "n c h w -> (g n) c h w", g=halves)
    times = torch.full((halves * n,), timestep, device=base.device)
    context = repeat(prompted.context, "g t d -> (g n) t d", n=n)
    if concept is None or not concept.blocks:
        noise = predict_noise(base.unet, rows, times, context)
    else:
        features, masks = reference_tokens(base, prompted, concept, timestep)
        noise = denoise(
            base.unet,
            base.sites,
            concept.blocks,
            rows,
            times,
            context,
            [for_rows(f, halves * n) for f in features],
            [for_rows(m, halves * n) for m in masks],
            _strengths(base, request, concept, halves, n),
        )
    if halves == 1:
        return noise
    negative, positive = noise.chunk(2)
    return guide(negative, positive, request.guidance_scale)


def _strengths(base: Base, request: PictureRequest, concept: LoadedConcept, halves: int, n: int) -> Tensor:
    """Image guidance [G·n] of every row."""
    shares = [concept.negative_image_guidance, 1.0][-halves:]
    strengths = torch.tensor(shares, device=base.device, dtype=base.dtype) * request.image_guidance
    return repeat(strengths, "g -> (g n)", n=n)


def reference_tokens(
    base: Base, prompted: Prompted, concept: LoadedConcept, timestep: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Per site the features [K, R·N, C] and mask [K, R·N] of all references, side by side as one row of tokens."""
    k, r = prompted.reference_context.shape[0], concept.references.shape[0]
    sites = reference_features(
        base.unet,
        base.sites,
        repeat(concept.references, "r c h w -> (k r) c h w", k=k),
        torch.full((k * r,), timestep, device=base.device),
        repeat(prompted.reference_context, "k t d -> (k r) t d", r=r),
        repeat(prompted.attention_position, "k -> (k r)", r=r),
    )
    return (
        [rearrange(site.features, "(k r) n c -> k (r n) c", r=r) for site in sites],
        [rearrange(site.mask, "(k r) n -> k (r n)", r=r) for site in sites],
    )


def for_rows(shared: Tensor, rows: int) -> Tensor:
    """[K, ...] → [rows, ...]: every one for its run of rows."""
    return shared.repeat_interleave(rows // shared.shape[0], dim=0)


def _encode(base: Base, request: PictureRequest, concept: LoadedConcept | None) -> Prompted:
    rows = [_tokenize(base, request.prompt, concept)]
    if request.guidance_scale != 1:
        rows.insert(0, tokenize_prompt(request.negative_prompt, base.encode_text, base.tokenizer_spec))
    halves = len(rows)
    if concept is not None and concept.reference_context == "concept":
        rows.append(_tokenize(base, reference_prompt(concept.placeholder), concept))
    batch = prompt_batch(rows, 1 if concept is None else concept.token_embedding.shape[0], base.device)
    embedding = None if concept is None else repeat(concept.token_embedding, "v d -> g v d", g=len(rows))
    encoded = encode_prompts(base.text_encoder, batch.input_ids, batch.placeholder_position, embedding)
    context, reference = encoded[:halves], encoded[halves:]
    if not len(reference):
        # a half that does not attend may be handed the other's features
        shared = concept is not None and concept.negative_image_guidance == 0
        reference = context[-1:] if shared else context
    return Prompted(context, reference, batch.attention_position[-1:].expand(len(reference)))


def _tokenize(base: Base, prompt: str, concept: LoadedConcept | None) -> TokenizedPrompt:
    if concept is None:
        return tokenize_prompt(prompt, base.encode_text, base.tokenizer_spec)
    vectors = concept.token_embedding.shape[0]
    return tokenize_prompt(prompt, base.encode_text, base.tokenizer_spec, concept.placeholder, vectors)


def _latent_shape(base: Base, request: PictureRequest) -> tuple[int, int, int]:
    for name, value, low, high in (
        ("guidance_scale", request.guidance_scale, 1, math.inf),
        ("image_guidance", request.image_guidance, 0, math.inf),
        ("num_images", request.num_images, 1, math.inf),
        ("seed", request.seed, 0, 2**63),
    ):
        if not (math.isfinite(value) and low <= value < high):
            raise PipelineError(name, f"{value} is out of range", f"at least {low}, finite")
    sides = [side or base.default_size for side in (request.height, request.width)]
    for name, side in zip(("height", "width"), sides, strict=True):
        if side < base.size_multiple or side % base.size_multiple:
            raise PipelineError(name, f"{side} pixels", f"a multiple of {base.size_multiple}")
    return 4, sides[0] // base.vae_factor, sides[1] // base.vae_factor
