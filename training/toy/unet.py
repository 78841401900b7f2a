"""Trains the toy base's denoiser and text encoder: Stable Diffusion 1.x in small."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.toy import parallel
from training.toy.latents import LatentSet
from training.toy.loop import (
    MovingAverage,
    Schedule,
    append_curve,
    load_checkpoint,
    progress_bar,
    read_curve,
    save_checkpoint,
    set_rate,
)
from training.toy.muon import Pair, muon_for
from training.toy.parts import AutoencoderKL, UNet2DConditionModel
from training.toy.sampling import noise_schedule, sample
from training.toy.sheets import save_sheet
from training.toy.tokens import LENGTH

CONTEXT_WIDTH = 128
SHEET_PROMPTS = (
    "a photo of a strawberry on a wooden table",
    "a photo of a cat on the grass",
    "a photo of a car in the desert",
    "a photo of a penguin in the snow",
    "a photo of a bear on a red carpet",
    "a photo of a robot in front of a brick wall",
    "a photo of a sofa on a checkered floor",
    "a photo of a rocket under a starry night sky",
    "a photo of a boat in the water",
    "a photo of a pumpkin in a forest",
    "a photo of a dog on the beach",
    "a photo of a red car on a marble floor",
    "a photo of a green chair at sunset",
    "a black and white photo of an owl in a forest",
    "a pencil sketch of a horse on a wooden table",
    "a photo of a pizza next to a panda on the beach",
)


@dataclass(frozen=True)
class UnetRecipe:
    """How the denoiser is trained."""

    pictures: int = 72_000  # seen in all, over every run: the length of the learning-rate schedule
    batch: int = 16
    rate: float = 2e-3
    weight_decay: float = 0.01
    min_snr: float = 5.0
    drop: float = 0.1  # part of captions left empty, for classifier-free guidance
    average: float = 0.998
    seed: int = 0
    every_seconds: float = 240.0  # between checkpoints
    sheet_seconds: float | None = 600.0  # between sample sheets; None for none

    @property
    def steps(self) -> int:
        """Steps over all runs."""
        return self.pictures // self.batch


class Denoiser(torch.nn.Module):
    """The two networks that are trained together."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.unet = build_unet()
        self.text_encoder = build_text_encoder(tokenizer)

    def forward(self, latent: torch.Tensor, timestep: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Predicted noise for latents [B, 4, h, w] at timesteps [B] under token ids [B, 77]."""
        context = self.text_encoder(ids).last_hidden_state
        predicted: torch.Tensor = self.unet(latent, timestep, encoder_hidden_states=context).sample
        return predicted


def build_unet() -> UNet2DConditionModel:
    """Three levels (16, 8, 4 at 64-pixel pictures), cross-attention at each: decoder transformers 0..5, two a level."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        cross_attention_dim=CONTEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers of CLIP's text model for the toy vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=CONTEXT_WIDTH,
        intermediate_size=4 * CONTEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=CONTEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Captions to ids [B, 77], padded with the end of text."""
    encoded = tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    ids: torch.Tensor = encoded.input_ids
    return ids


def denoising_loss(
    model: Denoiser, latents: torch.Tensor, ids: torch.Tensor, recipe: UnetRecipe, generator: torch.Generator
) -> torch.Tensor:
    """Mean squared error of the predicted noise, weighted by min-SNR (Hang et al. 2023, section 3.4, for epsilon).

    Over this process's rows of the batch; what is drawn is drawn for the whole batch, so that it does not depend on
    the number of processes.
    """
    alphas = noise_schedule().alphas_cumprod
    count = len(latents)
    spread = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    timestep = (spread * len(alphas)).long().clamp(max=len(alphas) - 1)  # stratified: less variance between steps
    noise = torch.randn(latents.shape, generator=generator)
    rows = parallel.own_rows()
    latents, ids, timestep, noise = latents[rows], ids[rows], timestep[rows], noise[rows]
    alpha = alphas[timestep].view(-1, 1, 1, 1)
    predicted = model(alpha.sqrt() * latents + (1 - alpha).sqrt() * noise, timestep, ids)
    snr = (alpha / (1 - alpha)).flatten()
    weight = snr.clamp(max=recipe.min_snr) / snr
    error = F.mse_loss(predicted, noise, reduction="none").mean(dim=(1, 2, 3))
    loss: torch.Tensor = (weight * error).mean()
    return loss


def train_unet(
    data: LatentSet, tokenizer: CLIPTokenizer, vae: AutoencoderKL, work: Path, recipe: UnetRecipe, seconds: float
) -> None:
    """Trains for `seconds` or to the recipe's end, going on from the checkpoint in `work`.

    Leaves ``state.pt`` (all that resuming needs), ``curve.jsonl`` and ``samples-<pictures>.png`` in `work`.
    """
    torch.manual_seed(recipe.seed)
    model = Denoiser(tokenizer)
    optimizer = muon_for(model, recipe.rate, recipe.weight_decay, betas=(0.9, 0.99))
    average = MovingAverage(model, recipe.average)
    first = resume(work / "state.pt", model, optimizer, average)
    earlier = float(read_curve(work / "curve.jsonl")[-1]["seconds"]) if first else 0.0
    schedule = Schedule(recipe.rate, 200, recipe.steps)
    started = saved = sheeted = time.monotonic()
    running = 0.0
    shown = parallel.rank() == 0
    with progress_bar(disable=not shown) as bar:
        task = bar.add_task("U-Net", total=recipe.steps, completed=first, note="")
        for step in range(first, recipe.steps):
            set_rate(optimizer.param_groups, schedule.rate(step))
            loss = train_step(model, optimizer, data, tokenizer, step, recipe)
            average.update(model, step)
            running = loss if step == first else 0.99 * running + 0.01 * loss
            bar.update(task, advance=1, note=f"loss {running:.4f}")
            now = time.monotonic()
            last = parallel.agreed(now - started > seconds or step + 1 == recipe.steps)
            if shown and (last or now - saved > recipe.every_seconds):
                save_state(work / "state.pt", model, optimizer, average, step + 1)
                spent = round(earlier + now - started, 1)
                append_curve(work / "curve.jsonl", pictures=(step + 1) * recipe.batch, seconds=spent, loss=running)
                saved = now
            if shown and recipe.sheet_seconds and (last or now - sheeted > recipe.sheet_seconds):
                sheet(model, average, tokenizer, vae, work / f"samples-{(step + 1) * recipe.batch:07d}.png")
                sheeted = now
            if last:
                break


def train_step(
    model: Denoiser,
    optimizer: Pair,
    data: LatentSet,
    tokenizer: CLIPTokenizer,
    step: int,
    recipe: UnetRecipe,
) -> float:
    """One step; everything random in it follows from the seed and the step, so a resumed run is the same run."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    latents, captions = data.batch(recipe.seed, step, recipe.batch)
    dropped = torch.rand(len(captions), generator=generator) < recipe.drop
    ids = token_ids(tokenizer, ["" if drop else text for text, drop in zip(captions, dropped, strict=True)])
    loss = denoising_loss(model, latents, ids, recipe, generator)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parallel.average_gradients(model)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def save_state(path: Path, model: Denoiser, optimizer: Pair, average: MovingAverage, step: int) -> None:
    """Saves all that resuming needs."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.values, "step": step}
    save_checkpoint(path, state)


def resume(path: Path, model: Denoiser, optimizer: Pair, average: MovingAverage) -> int:
    """Loads what `save_state` saved; without optimiser state (a checkpoint from the repository) its moments restart.

    Returns the number of steps already made.
    """
    state = load_checkpoint(path)
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    average.values = {name: value.clone() for name, value in state["average"].items()}
    return int(state["step"])


def averaged_model(work: Path, tokenizer: CLIPTokenizer) -> tuple[Denoiser, int]:
    """The moving average of the checkpoint in `work`, ready to use, and the steps it has seen."""
    state = load_checkpoint(work / "state.pt")
    if state is None:
        raise FileNotFoundError(f"no checkpoint in {work}: run `python -m training.toy unet` first")
    model = Denoiser(tokenizer)
    model.load_state_dict(state["model"])
    average = MovingAverage(model, 0.0)
    average.values = state["average"]
    average.copy_to(model)
    return model.eval(), int(state["step"])


def sheet(model: Denoiser, average: MovingAverage, tokenizer: CLIPTokenizer, vae: AutoencoderKL, path: Path) -> None:
    """Samples the averaged model on `SHEET_PROMPTS`."""
    averaged = Denoiser(tokenizer)
    averaged.load_state_dict(model.state_dict())
    average.copy_to(averaged)
    pictures = sample(averaged.eval().unet, averaged.text_encoder, vae, tokenizer, list(SHEET_PROMPTS), seed=0)
    save_sheet(path, pictures, SHEET_PROMPTS)
