"""Latents of the training pictures, coded once: the U-Net never waits for the VAE."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from training.toy.dataset import SHARD, Pictures, shard_path
from training.toy.parts import AutoencoderKL
from training.toy.vae import to_tensor

SCALING_FACTOR = 0.18215  # Stable Diffusion's; `normalise` makes it right for the toy VAE too


@torch.no_grad()
def normalise(vae: AutoencoderKL, pictures: npt.NDArray[np.uint8]) -> None:
    """Gives each latent channel mean 0 and standard deviation 1 / SCALING_FACTOR over `pictures`, in place.

    The two 1x1 convolutions beside the latent take up the change, so that reconstructions stay the same; the U-Net
    then sees channels of equal weight, and every pipeline's scaling factor is the familiar one.
    """
    latent = torch.cat([encode(vae, pictures[i : i + 32]) for i in range(0, len(pictures), 32)])
    mean = latent.mean(dim=(0, 2, 3))
    ratio = latent.std(dim=(0, 2, 3)) * SCALING_FACTOR
    channels = len(mean)
    weight, bias = vae.quant_conv.weight, vae.quant_conv.bias
    weight[:channels] /= ratio[:, None, None, None]
    bias[:channels] = (bias[:channels] - mean) / ratio
    bias[channels:] -= 2 * ratio.log()
    weight, bias = vae.post_quant_conv.weight, vae.post_quant_conv.bias
    bias += weight[:, :, 0, 0] @ mean
    weight *= ratio[None, :, None, None]
    vae.register_to_config(scaling_factor=SCALING_FACTOR)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Modes of the latents of pictures [B, H, W, 3], unscaled, [B, 4, H/4, W/4]."""
    mode: torch.Tensor = vae.encode(to_tensor(pictures)).latent_dist.mode()
    return mode


def cache_latents(vae: AutoencoderKL, source: Path, folder: Path, advance: Callable[[int], None]) -> None:
    """Codes the shards of `source` that `folder` lacks, scaled, as float16, with their captions beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = Pictures.open(source)
    for number, shard in enumerate(pictures.shards):
        target = shard_path(folder, number)
        if not target.exists():
            parts = [encode(vae, shard[i : i + 50]) * SCALING_FACTOR for i in range(0, SHARD, 50)]
            plans = json.loads(shard_path(source, number).with_suffix(".json").read_text(encoding="utf-8"))
            captions = json.dumps([plan["caption"] for plan in plans])
            target.with_suffix(".json").write_text(captions, encoding="utf-8")
            part = target.with_suffix(".part.npy")
            np.save(part, torch.cat(parts).half().numpy())
            part.replace(target)
        advance(number + 1)


@dataclass(frozen=True)
class LatentSet:
    """Cached latents and captions in memory."""

    latents: npt.NDArray[np.float16]  # [N, 4, h, w], scaled
    captions: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path) -> LatentSet:
        """Reads the whole shards 0, 1, ... of `folder`; FileNotFoundError if there is none."""
        arrays: list[npt.NDArray[np.float16]] = []
        captions: list[str] = []
        while (path := shard_path(folder, len(arrays))).exists():
            arrays.append(np.load(path))
            captions += json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if not arrays:
            raise FileNotFoundError(f"no latents in {folder}: run `python -m training.toy vae` first")
        return cls(np.concatenate(arrays), tuple(captions))

    def batch(self, seed: int, step: int, size: int) -> tuple[torch.Tensor, list[str]]:
        """The batch of `step`: every picture once an epoch, in an order of the epoch's own."""
        count = len(self.captions)
        per_epoch = math.floor(count / size)
        order = np.random.default_rng([seed, step // per_epoch]).permutation(count)
        chosen = order[(step % per_epoch) * size : (step % per_epoch + 1) * size]
        return torch.from_numpy(self.latents[chosen]).float(), [self.captions[index] for index in chosen]
