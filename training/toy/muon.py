"""Muon for matrices and convolutions, AdamW for the rest: fewer steps to the same loss, which is what a CPU lacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch

from training.toy import parallel


def orthogonalise(matrices: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """Brings the singular values of matrices [B, rows, columns] near 1 by Newton-Schulz steps (Jordan et al. 2024).

    Every step multiplies by a polynomial of the Gram matrix, and all of these commute. So the steps are made on the
    small square Gram matrix alone, and the long side is touched twice instead of ten times.
    """
    if matrices.shape[1] > matrices.shape[2]:
        turned: torch.Tensor = orthogonalise(matrices.mT, iterations).mT
        return turned
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    gram = x @ x.mT
    eye = torch.eye(gram.shape[1], device=gram.device, dtype=gram.dtype)
    product = eye.expand_as(gram)
    for step in range(iterations):
        polynomial = 3.4445 * eye - 4.7750 * gram + 2.0315 * gram @ gram
        product = polynomial @ product if step else polynomial
        if step + 1 < iterations:
            gram = polynomial @ gram @ polynomial
    straight: torch.Tensor = product @ x
    return straight


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised. Updates are scaled to the size of AdamW's (Liu et al. 2025), so rates carry over."""

    def __init__(self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient; `closure` is not supported."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[torch.Tensor]] = defaultdict(list)
            for value in group["params"]:
                if value.grad is not None:
                    by_shape[(value.shape[0], value[0].numel())].append(value)
            stacks = {shape: self._directions(values, shape, group) for shape, values in by_shape.items()}
            for shape, updates in orthogonalise_shared(stacks).items():
                _apply(by_shape[shape], updates, shape, group)

    def _directions(self, values: list[torch.Tensor], shape: tuple[int, int], group: dict[str, Any]) -> torch.Tensor:
        """Momentum with Nesterov's look ahead, [number of values, rows, columns]."""
        directions = []
        for value in values:
            state, slope = self.state[value], value.grad
            assert slope is not None  # `step` chose those that have one
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(value)
            state["momentum"].lerp_(slope, 1 - group["momentum"])
            directions.append(slope.lerp(state["momentum"], group["momentum"]).reshape(shape))
        return torch.stack(directions)


def orthogonalise_shared(stacks: dict[tuple[int, int], torch.Tensor]) -> dict[tuple[int, int], torch.Tensor]:
    """`orthogonalise` of every stack, each process doing its share: it takes as long as the forward pass of a batch."""
    updates = {shape: torch.zeros_like(stack) for shape, stack in stacks.items()}
    for turn, (shape, stack) in enumerate(stacks.items()):
        rows = parallel.own_rows(turn)
        if len(stack[rows]):
            updates[shape][rows] = orthogonalise(stack[rows])
    parallel.add_up(list(updates.values()))
    return updates


def _apply(values: list[torch.Tensor], updates: torch.Tensor, shape: tuple[int, int], group: dict[str, Any]) -> None:
    size = 0.2 * max(shape) ** 0.5
    for value, update in zip(values, updates, strict=True):
        value.mul_(1 - group["lr"] * group["decay"])
        value.add_(update.reshape(value.shape), alpha=-group["lr"] * size)


class Pair:
    """Two optimizers that act as one."""

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        self.parts = (first, second)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, for setting the rate."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Updates by both."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """The states of both."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restores what `state_dict` gave."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def muon_for(module: torch.nn.Module, rate: float, decay: float, betas: tuple[float, float] = (0.9, 0.98)) -> Pair:
    """Muon on hidden matrices and kernels; AdamW on embeddings, norms, biases, and the first and last convolutions."""
    inner: list[torch.Tensor] = []
    outer: list[torch.Tensor] = []
    for name, value in module.named_parameters():
        if not value.requires_grad:
            continue
        edge = any(part in name for part in ("conv_in", "conv_out", "quant_conv", "embedding"))
        (outer if value.ndim < 2 or edge else inner).append(value)
    rest = [{"params": outer, "scale": 0.5}]
    return Pair(Muon(inner, rate, decay=decay), torch.optim.AdamW(rest, rate, betas=betas, weight_decay=decay))
