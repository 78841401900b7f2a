"""What a step sees: a target photo, another one as reference, a caption, a timestep, noise.

Everything random is a function of (seed, step, process), so that a resumed run goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.templates import TEMPLATES
from vico.base import Base
from vico.text import PromptBatch, tokenize_prompts

_MAX_PROCESSES = 4096
_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Inputs of one training step; B rows."""

    latent: Tensor  # [B, 4, h, w] clean latents of the target photos
    reference_latent: Tensor  # [B, 4, h, w] clean latents of the reference photos
    noise: Tensor  # [B, 4, h, w]
    timestep: Tensor  # [B] int64
    prompts: PromptBatch


@dataclass(frozen=True)
class BatchMaker:
    """Draws the batch of any step."""

    base: Base
    latents: Tensor  # [P, 4, h, w] clean latents of all photos
    placeholder: str
    vectors: int
    batch_size: int
    seed: int
    process: int = 0
    templates: Sequence[str] = TEMPLATES

    def batch(self, step: int) -> Batch:
        """The batch of step `step`, the same whenever it is asked for."""
        key = np.array([self.seed, step * _MAX_PROCESSES + self.process], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        targets, references = _pairs(random, self.latents.shape[0], self.batch_size)
        captions = [
            self.templates[i].format(self.placeholder)
            for i in random.integers(len(self.templates), size=self.batch_size)
        ]
        timesteps = random.integers(self.base.schedule.num_train_timesteps, size=self.batch_size)
        noise = random.standard_normal((self.batch_size, *self.latents.shape[1:]), dtype=np.float32)
        device = self.latents.device
        return Batch(
            latent=self.latents[torch.from_numpy(targets).to(device)],
            reference_latent=self.latents[torch.from_numpy(references).to(device)],
            noise=torch.from_numpy(noise).to(device),
            timestep=torch.from_numpy(timesteps).to(device),
            prompts=tokenize_prompts(self.base, captions, self.placeholder, self.vectors),
        )


def _pairs(random: np.random.Generator, photos: int, rows: int) -> tuple[_Rows, _Rows]:
    """Targets and references of a batch: never the same photo twice in a pair, unless there is only one."""
    targets = random.integers(photos, size=rows)
    if photos == 1:
        return targets, targets
    return targets, (targets + random.integers(1, photos, size=rows)) % photos
