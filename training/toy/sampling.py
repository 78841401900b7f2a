"""Pictures from the toy base in a few lines: DDIM with classifier-free guidance, a seed for each picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from training.toy.parts import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from training.toy.vae import to_pictures

STEPS = 25
GUIDANCE = 4.5


@lru_cache(maxsize=1)
def noise_schedule() -> DDIMScheduler:
    """Stable Diffusion 1.x's schedule."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


@torch.no_grad()
def sample(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    prompts: list[str],
    seed: int,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    batch: int = 32,
) -> npt.NDArray[np.uint8]:
    """One picture a prompt, [N, H, W, 3]; picture number i starts from noise of seed ``seed + i``."""
    parts = []
    for start in range(0, len(prompts), batch):
        chunk = prompts[start : start + batch]
        seeds = range(seed + start, seed + start + len(chunk))
        latent = _denoise(unet, text_encoder, tokenizer, chunk, seeds, steps, guidance)
        parts.append(to_pictures(vae.decode(latent / vae.config.scaling_factor).sample))
    return np.concatenate(parts)


def _denoise(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    prompts: list[str],
    seeds: range,
    steps: int,
    guidance: float,
) -> torch.Tensor:
    size = unet.config.sample_size
    latent = torch.cat([torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(s)) for s in seeds])
    ids = tokenizer([""] * len(prompts) + prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    context = text_encoder(ids).last_hidden_state
    scheduler = DDIMScheduler.from_config(noise_schedule().config)
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        free, bound = unet(torch.cat([latent, latent]), timestep, encoder_hidden_states=context).sample.chunk(2)
        latent = scheduler.step(free + guidance * (bound - free), timestep, latent).prev_sample
    return latent
