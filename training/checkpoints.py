"""Checkpoints: trained tensors, their average, optimiser state and losses in one safetensors file; no pickles."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from training.average import Average
from training.errors import CheckpointError
from vico.concept.atomic import write_atomically

_NAME = re.compile(r"step-(\d{6})\.safetensors")


@dataclass(frozen=True)
class LossPoint:
    """Losses of one step, for the curve."""

    step: int
    noise: float
    regulariser: float


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    step: int  # steps done
    losses: tuple[LossPoint, ...]
    seconds: float  # of training so far


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    run: dict[str, Any],
    average: Average | None = None,
) -> Path:
    """Write `folder/step-NNNNNN.safetensors` atomically and drop older ones; `run` says which run it belongs to."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        tensors |= {f"optimizer.{names[parameter]}:{key}": value for key, value in state.items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.tensors().items()}
    metadata = {
        "run": json.dumps(run, sort_keys=True),
        "seconds": repr(progress.seconds),
        "losses": json.dumps([[p.step, p.noise, p.regulariser] for p in progress.losses]),
    }
    path = folder / f"step-{progress.step:06d}.safetensors"
    write_atomically(path, save({k: v.cpu().contiguous() for k, v in tensors.items()}, metadata))
    for older in _all(folder):
        if older != path:
            older.unlink()
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps, if there is one."""
    return max(_all(folder), default=None)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    run: dict[str, Any],
    average: Average | None = None,
) -> Progress:
    """Bring model, optimiser and average to where a checkpoint left them.

    Raises:
        CheckpointError: it is torn, or of a run with other settings, which are named.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a safetensors handle
        written, losses = json.loads(metadata["run"]), json.loads(metadata["losses"])
        seconds = float(metadata["seconds"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            "resume", f"{path.name} is damaged ({error})", "a whole checkpoint: start again"
        ) from None
    if differing := sorted(k for k in run.keys() | written.keys() if run.get(k) != written.get(k)):
        raise CheckpointError("resume", f"{path.name} was trained with another {', '.join(differing)}", "the same run")
    kept = {name.removeprefix("average."): t for name, t in tensors.items() if name.startswith("average.")}
    if bool(kept) != (average is not None):
        was = "with" if kept else "without"
        raise CheckpointError("resume", f"{path.name} was trained {was} an average", "the same recipe")
    _restore(model, optimizer, tensors)
    step = int(_NAME.fullmatch(path.name)[1])  # type: ignore[index]
    if average is not None:
        average.restore(kept, step)
    return Progress(step, tuple(LossPoint(*p) for p in losses), seconds)


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            prefix = f"optimizer.{name}:"
            state = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
            # AdamW counts its steps on the CPU, everything else lies where the parameter does
            optimizer.state[parameter] = {
                key: tensor if key == "step" else tensor.to(parameter.device) for key, tensor in state.items()
            }


def _all(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob("step-*.safetensors") if _NAME.fullmatch(f.name))
