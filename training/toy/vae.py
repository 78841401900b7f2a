"""Trains the toy base's image coder: diffusers' AutoencoderKL, factor 4, four latent channels."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.toy.dataset import Pictures
from training.toy.loop import (
    MovingAverage,
    Schedule,
    append_curve,
    load_checkpoint,
    progress_bar,
    save_checkpoint,
    set_rate,
)
from training.toy.muon import Pair, muon_for
from training.toy.parts import AutoencoderKL
from training.toy.sheets import save_sheet


@dataclass(frozen=True)
class VaeRecipe:
    """How the VAE is trained."""

    steps: int = 560
    batch: int = 8
    rate: float = 3e-3
    kl_weight: float = 1e-6  # of the KL summed over the latent, relative to the squared error a pixel
    average: float = 0.995
    seed: int = 0
    every: int = 50  # steps between checkpoints
    decoder_only: bool = False  # keeps the latent space of an existing encoder


def build_vae() -> AutoencoderKL:
    """Width at low resolution, one layer a block, no attention: what two CPU cores can train."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 48, 96),
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
    )


def to_tensor(pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
    """[B, H, W, 3] bytes to [B, 3, H, W] in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def to_pictures(images: torch.Tensor) -> npt.NDArray[np.uint8]:
    """[B, 3, H, W] in -1..1 to [B, H, W, 3] bytes."""
    scaled = images.detach().float().clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def psnr(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Mean over the pictures of 10 log10(255^2 / MSE), in dB; both [B, H, W, 3]."""
    error = np.square(first.astype(np.float64) - second).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / np.maximum(error, 1e-9))))


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: npt.NDArray[np.uint8], batch: int = 32) -> npt.NDArray[np.uint8]:
    """Codes and decodes pictures by the mode of their latents."""
    parts = []
    for start in range(0, len(pictures), batch):
        latent = vae.encode(to_tensor(pictures[start : start + batch])).latent_dist.mode()
        parts.append(to_pictures(vae.decode(latent).sample))
    return np.concatenate(parts)


def loss_of(vae: AutoencoderKL, images: torch.Tensor, kl_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Training loss and squared error a pixel value (of -1..1)."""
    posterior = vae.encode(images).latent_dist
    decoded = vae.decode(posterior.sample()).sample
    error = (decoded - images).square().mean()
    return error + kl_weight * posterior.kl().mean(), error


def train_vae(
    pictures_folder: Path,
    validation: npt.NDArray[np.uint8],
    work: Path,
    recipe: VaeRecipe,
    start: AutoencoderKL | None = None,
) -> AutoencoderKL:
    """Trains to `recipe.steps` from a checkpoint in `work`, else from `start`, else anew; returns the average."""
    torch.manual_seed(recipe.seed)
    vae = (start or build_vae()).train()
    if recipe.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    trained = [value for value in vae.parameters() if value.requires_grad]
    optimizer = muon_for(vae, recipe.rate, decay=1e-3)
    average = MovingAverage(vae, recipe.average)
    state, first = load_checkpoint(work / "state.pt"), 0
    if state is not None:
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        average.values, first = state["average"], state["step"]
    schedule = Schedule(recipe.rate, 100, recipe.steps)
    started, pictures = time.monotonic(), Pictures.open(pictures_folder)
    with progress_bar() as bar:
        task = bar.add_task("VAE", total=recipe.steps, completed=first, note="")
        for step in range(first, recipe.steps):
            draw = np.random.default_rng([recipe.seed, step])
            images = to_tensor(pictures.batch(draw.integers(0, len(pictures), size=recipe.batch)))
            set_rate(optimizer.param_groups, schedule.rate(step))
            loss, error = loss_of(vae, images, recipe.kl_weight)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            average.update(vae, step)
            bar.update(task, advance=1, note=f"mse {error.item():.4f}")
            if (step + 1) % recipe.every == 0 or step + 1 == recipe.steps:
                quality = checkpoint(vae, optimizer, average, step + 1, work, validation)
                seconds = round(time.monotonic() - started, 1)
                append_curve(work / "curve.jsonl", step=step + 1, seconds=seconds, psnr=quality, mse=error.item())
                pictures = Pictures.open(pictures_folder)
    average.copy_to(vae)
    return vae.eval()


def checkpoint(
    vae: AutoencoderKL,
    optimizer: Pair,
    average: MovingAverage,
    step: int,
    work: Path,
    validation: npt.NDArray[np.uint8],
) -> float:
    """Saves the state and a sheet of reconstructions; returns the averaged model's PSNR in dB."""
    state = {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "average": average.values, "step": step}
    save_checkpoint(work / "state.pt", state)
    averaged = build_vae()
    averaged.load_state_dict(vae.state_dict())
    average.copy_to(averaged)
    decoded = reconstruct(averaged.eval(), validation[:64])
    pairs = np.stack([validation[:24], decoded[:24]], axis=1).reshape(-1, *validation.shape[1:])
    save_sheet(work / "reconstructions.png", pairs, columns=12)
    return psnr(validation[:64], decoded)
