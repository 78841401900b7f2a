"""What a baseline's step sees: noisy photos with captions. A function of (seed, step), as in `training.batches`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vico.base import Base


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs of one step; B rows."""

    noisy: Tensor  # [B, 4, h, w]
    noise: Tensor  # [B, 4, h, w] what was mixed in
    timestep: Tensor  # [B] int64
    captions: list[str]


@dataclass(frozen=True, eq=False)
class ExampleMaker:
    """Draws the rows of any step from a set of pictures."""

    base: Base
    latents: Tensor  # [P, 4, h, w] clean latents, scaled
    captions: Sequence[str]
    batch_size: int
    seed: int
    stream: int = 0  # sets of pictures that are trained on side by side draw apart

    def draw(self, step: int) -> Examples:
        """The rows of step `step`, the same whenever they are asked for."""
        key = np.array([self.seed, 2 * step + self.stream], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        rows = random.integers(len(self.latents), size=self.batch_size)
        captions = [self.captions[i] for i in random.integers(len(self.captions), size=self.batch_size)]
        timestep = torch.from_numpy(random.integers(self.base.schedule.num_train_timesteps, size=self.batch_size))
        shape = (self.batch_size, *self.latents.shape[1:])
        noise = torch.from_numpy(random.standard_normal(shape, dtype=np.float32)).to(self.latents)
        latent = self.latents[torch.from_numpy(rows).to(self.latents.device)]
        return Examples(self._mix(latent, noise, timestep), noise, timestep.to(self.latents.device), captions)

    def _mix(self, latent: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """The forward process (DDPM, arXiv 2006.11239, equation 4)."""
        kept = torch.tensor(self.base.schedule.alphas_cumprod(), dtype=torch.float32)[timestep]
        kept = rearrange(kept, "b -> b 1 1 1").to(latent)
        return kept.sqrt() * latent + (1 - kept).sqrt() * noise
