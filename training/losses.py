"""What is minimised: the error of ε under its weights, and the attention regulariser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from training.recipe import Recipe
from vico.regulariser import attention_regulariser
from vico.streams import ReferenceFeatures


@dataclass(frozen=True)
class Objective:
    """What one step minimises; the defaults are the published method. The fields are those of the recipe."""

    regulariser: Literal["published", "mean", "none"] = "published"
    min_snr_gamma: float = 0.0
    detach: bool = False
    token_frozen: bool = False
    preservation: float = 0.0


PUBLISHED = Objective()


@dataclass(frozen=True)
class Losses:
    """Losses of one step, scalars."""

    total: Tensor  # what is differentiated
    noise: Tensor  # mean squared error of ε, not weighted
    regulariser: Tensor  # not yet weighted


def objective_at(recipe: Recipe, step: int) -> Objective:
    """What step `step` of a run minimises."""
    frozen = bool(recipe.token_steps) and step >= recipe.token_steps
    return Objective(recipe.regulariser, recipe.min_snr_gamma, recipe.detach, frozen, recipe.preservation)


def noise_error(predicted: Tensor, noise: Tensor, area: Tensor | None, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """(weighted, plain) mean squared error of ε [B, 4, h, w]; area [B, 1, h, w] and weight [B], None = 1."""
    predicted, noise = predicted.float(), noise.float()
    if area is None and weight is None:
        plain = F.mse_loss(predicted, noise)
        return plain, plain
    squares = F.mse_loss(predicted, noise, reduction="none")
    weighted = squares if area is None else squares * area
    if weight is not None:
        weighted = weighted * rearrange(weight, "b -> b 1 1 1")
    return weighted.mean(), squares.detach().mean()


def min_snr_weight(signal_power: Tensor, gamma: float) -> Tensor:
    """min(SNR, γ) / SNR for ε-prediction (Hang et al. 2023, arXiv 2303.09556), SNR = signal power / noise power. [B]"""
    return ((1 - signal_power) / signal_power * gamma).clamp(max=1)


def regularise(references: tuple[ReferenceFeatures, ...], kind: Literal["published", "mean", "none"]) -> Tensor:
    """The attention regulariser, not yet weighted: its published sum over the sites, their mean, or 0."""
    if kind == "none":
        return torch.zeros((), device=references[0].features.device)
    total = attention_regulariser(
        [reference.placeholder_attention for reference in references],
        [reference.end_of_text_attention for reference in references],
    ).float()
    return total / len(references) if kind == "mean" else total


def kept_error(predicted: Tensor, plain: Tensor, outside: Tensor, weight: Tensor | None) -> Tensor:
    """Mean squared distance of ε [B, 4, h, w] from the plain base's, outside [B, 1, h, w]; weight [B], None = 1."""
    squares = F.mse_loss(predicted.float(), plain.float(), reduction="none") * outside
    return (squares if weight is None else squares * rearrange(weight, "b -> b 1 1 1")).mean()


def surroundings(masks: Tensor) -> Tensor:
    """What is not the thing, for soft masks [P, V, h, w]: one cell further out, since the masks are grown too small."""
    grown = F.max_pool2d(rearrange(masks, "p v h w -> (p v) 1 h w"), 3, stride=1, padding=1)
    return 1 - rearrange(grown, "(p v) 1 h w -> p v h w", p=masks.shape[0])


def area_weights(masks: Tensor, outside: float) -> Tensor:
    """Weights of the error: 1 in soft masks [..., h, w] and `outside` beyond, scaled to a mean of 1 each."""
    weights = outside + (1 - outside) * masks
    mean = weights.mean(dim=(-2, -1), keepdim=True)
    # a mask that is nowhere, with nothing counted outside of it, says nothing
    return torch.where(mean > 0, weights / mean, torch.ones_like(weights))
