"""What a step sees: a target photo, others as references, a caption, a timestep, noise.

Everything random is a function of (seed, step, process), so that a resumed run goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from training.draws import PUBLISHED, Draws, Flags, Rows, other_views
from training.templates import TEMPLATES
from vico.base import Base
from vico.concept import ReferenceContext, reference_prompt, tokenize_prompt
from vico.text import PromptBatch, prompt_batch, tokenize_prompts

_MAX_PROCESSES = 4096


@dataclass(frozen=True)
class Batch:
    """Inputs of one training step; B rows."""

    latent: Tensor  # [B, 4, h, w] clean latents of the target photos
    reference_latent: Tensor  # [B, K, 4, h, w] clean latents of the reference photos
    noise: Tensor  # [B, 4, h, w]
    timestep: Tensor  # [B] int64
    prompts: PromptBatch
    reference_prompts: PromptBatch | None = None  # [1]: the one that every reference stream reads; None = its row's
    image_guidance: Tensor | None = None  # [B]: 0 = without image attention; None = all with it
    area: Tensor | None = None  # [B, 1, h, w] weights of the error, with mean 1 in every row; None = 1
    outside: Tensor | None = None  # [B, 1, h, w] in [0, 1]: where the plain base's ε is to be kept; None = nowhere


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
    draws: Draws = PUBLISHED
    reference_context: ReferenceContext = "prompt"
    views: Tensor | None = None  # [P, V, 4, h, w]: of every photo itself and then its further views
    areas: Tensor | None = None  # [P, V, h, w] weights of the error, with mean 1 in every view
    outsides: Tensor | None = None  # [P, V, h, w] in [0, 1]: where the plain base's ε is to be kept
    scene_templates: Sequence[str] = ()

    def batch(self, step: int) -> Batch:
        """The batch of step `step`, the same whenever it is asked for."""
        key = np.array([self.seed, step * _MAX_PROCESSES + self.process], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        rows = self.batch_size
        targets, references = self.draws.pairs(random, self.latents.shape[0], rows)
        captions = [self.templates[i].format(self.placeholder) for i in random.integers(len(self.templates), size=rows)]
        timesteps = self.draws.timesteps(random, self.base.schedule.num_train_timesteps, rows)
        noise = random.standard_normal((rows, *self.latents.shape[1:]), dtype=np.float32)
        views = self.latents[:, None] if self.views is None else self.views
        view, reference_view = np.zeros_like(targets), np.zeros_like(references)
        if views.shape[1] > 1:
            view, reference_view = other_views(random, views.shape[1], rows, references, targets)
        caption_dropped, image_dropped = self.draws.dropped(random, rows)
        scenes = self.draws.scenes(random, len(self.scene_templates), rows)
        captions = [
            caption if scene is None else self.scene_templates[scene].format(self.placeholder)
            for caption, scene in zip(captions, scenes, strict=True)
        ]
        device = self.latents.device
        return Batch(
            latent=_pick(views, targets, view),
            reference_latent=_pick(views, references, reference_view),
            noise=torch.from_numpy(noise).to(device),
            timestep=torch.from_numpy(timesteps).to(device),
            prompts=self._prompts(captions, caption_dropped),
            reference_prompts=self._fixed(),
            image_guidance=None if image_dropped is None else torch.from_numpy(~image_dropped).to(views),
            area=None if self.areas is None else _pick(self.areas, targets, view)[:, None],
            outside=None if self.outsides is None else _pick(self.outsides, targets, view)[:, None],
        )

    def _prompts(self, captions: Sequence[str], dropped: Flags | None) -> PromptBatch:
        """The captions; where one is dropped the mask stays at its placeholder's position, as in guidance."""
        whole = tokenize_prompts(self.base, captions, self.placeholder, self.vectors)
        if dropped is None or not dropped.any():
            return whole
        empty = prompt_batch(
            [tokenize_prompt("", self.base.encode_text, self.base.tokenizer_spec)], self.vectors, self.base.device
        )
        here = torch.from_numpy(dropped).to(self.base.device)
        return replace(
            whole,
            input_ids=torch.where(here[:, None], empty.input_ids, whole.input_ids),
            placeholder_position=torch.where(here[:, None], empty.placeholder_position, whole.placeholder_position),
            end_of_text_position=torch.where(here, empty.end_of_text_position, whole.end_of_text_position),
        )

    def _fixed(self) -> PromptBatch | None:
        if self.reference_context == "prompt":
            return None
        return tokenize_prompts(self.base, [reference_prompt(self.placeholder)], self.placeholder, self.vectors)


def _pick(views: Tensor, photo: Rows, view: Rows) -> Tensor:
    """views [P, V, ...], two equal [...] of numbers → [..., ...]."""
    return views[torch.from_numpy(photo).to(views.device), torch.from_numpy(view).to(views.device)]
