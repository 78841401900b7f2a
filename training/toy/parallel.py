"""Several processes as one training run: a small network's operators are too short for two cores in one process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run(processes: int, work: Callable[..., None], *arguments: Any) -> None:
    """Calls `work(*arguments)` in `processes` processes of one thread each, or here if that is 1."""
    if processes == 1:
        work(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, (processes, str(Path(folder) / "meet"), work, arguments), nprocs=processes)  # type: ignore[attr-defined, no-untyped-call]


def rank() -> int:
    """This process's number; 0 is the one that saves and shows progress."""
    return dist.get_rank() if dist.is_initialized() else 0


def own_rows(turn: int = 0) -> slice:
    """The rows of a batch that this process computes; `turn` rotates them, for batches of uneven length."""
    processes = dist.get_world_size() if dist.is_initialized() else 1
    return slice((rank() + turn) % processes, None, processes)


def average_gradients(module: torch.nn.Module) -> None:
    """Gives every process the mean of all processes' gradients, in place."""
    if not dist.is_initialized():
        return
    gradients = [value.grad for value in module.parameters() if value.grad is not None]
    add_up(gradients)
    for gradient in gradients:
        gradient /= dist.get_world_size()


def add_up(tensors: list[torch.Tensor]) -> None:
    """Replaces tensors by their sums over all processes, in place."""
    if not dist.is_initialized():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def agreed(flag: bool) -> bool:
    """Process 0's `flag`, in every process: their clocks differ."""
    if not dist.is_initialized():
        return flag
    decision = torch.tensor([int(flag)])
    dist.broadcast(decision, 0)
    return bool(decision.item())


def _process(number: int, processes: int, meeting: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=number, world_size=processes)
    try:
        work(*arguments)
        # gloo aborts a process whose peer leaves while it still closes its own threads
        dist.barrier()
    finally:
        dist.destroy_process_group()
