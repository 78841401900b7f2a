"""The probe: a small network on the judge's features that names style, colour and every object of a picture.

The judge names one object and the scene; what captions can ask for beyond that (a style, a colour, a second object)
is read here from what the judge's convolutions see, trained on the same ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from training.toy.dataset import SHARD, Pictures, read_plans
from training.toy.judge import Judge, soften
from training.toy.vae import to_tensor
from training.toy.vocabulary import COLOURS, STYLES, THINGS
from training.toy.world import Plan

STYLE_KEYS: tuple[str | None, ...] = (None, *STYLES)
COLOUR_KEYS: tuple[str | None, ...] = (None, *COLOURS)
FEATURES = 2 * (32 + 64 + 96 + 128)
SHOWN = -3.0
"""Logit from which an object counts as shown: about 2 % of the absent ones reach it."""
_BATCH = 64


@dataclass(frozen=True)
class ProbeRecipe:
    """How the probe is trained."""

    shards: int = 12  # of SHARD pictures each; the one after them is what it is tested on
    steps: int = 1500
    batch: int = 256
    rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True)
class ProbeLogits:
    """What the probe says of N pictures."""

    style: npt.NDArray[np.float32]  # [N, styles + 1], in the order of STYLE_KEYS
    colour: npt.NDArray[np.float32]  # [N, colours + 1], in the order of COLOUR_KEYS
    things: npt.NDArray[np.float32]  # [N, objects], from SHOWN on = shown


class Probe(torch.nn.Module):
    """One hidden layer and three heads, 0.2 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(FEATURES)
        self.hidden = torch.nn.Linear(FEATURES, 256)
        self.style = torch.nn.Linear(256, len(STYLE_KEYS))
        self.colour = torch.nn.Linear(256, len(COLOUR_KEYS))
        self.things = torch.nn.Linear(256, len(THINGS))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features [B, FEATURES] to logits of style, colour and objects."""
        hidden = F.dropout(F.relu(self.hidden(self.norm(features))), 0.2, self.training)
        return self.style(hidden), self.colour(hidden), self.things(hidden)


@torch.no_grad()
def probe_features(judge: Judge, images: torch.Tensor) -> torch.Tensor:
    """Images [B, 3, 64, 64] in -1..1 to mean and greatest value of every channel, layer by layer: [B, FEATURES]."""
    layers = [F.relu(judge.stem(images))]
    for block in judge.blocks:
        layers.append(block(layers[-1]))
    return torch.cat([pooled for layer in layers for pooled in (layer.mean(dim=(2, 3)), layer.amax(dim=(2, 3)))], dim=1)


@torch.no_grad()
def probe_logits(judge: Judge, probe: Probe, pictures: npt.NDArray[np.uint8]) -> ProbeLogits:
    """What the probe says of pictures [N, 64, 64, 3]."""
    parts = [probe(probe_features(judge, to_tensor(pictures[i : i + _BATCH]))) for i in range(0, len(pictures), _BATCH)]
    style, colour, things = (torch.cat(head).numpy() for head in zip(*parts, strict=True))
    return ProbeLogits(style, colour, things)


def train_probe(judge: Judge, folder: Path, recipe: ProbeRecipe) -> Probe:
    """Trains on the first `recipe.shards` shards of pictures, each softened as for the judge."""
    torch.manual_seed(recipe.seed)
    draw = np.random.default_rng(recipe.seed)
    features = _softened_features(judge, Pictures.open(folder).shards[: recipe.shards], draw)
    styles, colours, things = _targets(list(read_plans(folder, recipe.shards)))
    probe = Probe()
    optimizer = torch.optim.AdamW(probe.parameters(), recipe.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    for _ in range(recipe.steps):
        rows = torch.from_numpy(draw.integers(0, len(features), size=recipe.batch))
        style, colour, shown = probe(features[rows])
        loss = F.cross_entropy(style, styles[rows]) + F.cross_entropy(colour, colours[rows])
        # about one object in ninety is shown
        loss = loss + 20 * F.binary_cross_entropy_with_logits(shown, things[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return probe.eval()


def probe_accuracy(judge: Judge, probe: Probe, folder: Path, shard: int) -> dict[str, float]:
    """Figures on the real renders of one shard that the probe was not trained on, 0..1."""
    said = probe_logits(judge, probe, np.array(Pictures.open(folder).shards[shard]))
    plans = list(read_plans(folder, shard + 1))[shard * SHARD :]
    styles, colours, things = (target.numpy() for target in _targets(plans))
    pairs = things.sum(axis=1) == 2
    shown, claimed = things[pairs] > 0, said.things[pairs] >= SHOWN
    return {
        "pictures": len(plans),
        **{str(key): _share(said.style.argmax(1)[styles == k] == k) for k, key in enumerate(STYLE_KEYS) if key},
        "style_absent": _share(said.style.argmax(1)[styles == 0] == 0),
        "colour": _share(said.colour.argmax(1)[colours > 0] == colours[colours > 0]),
        "colour_absent": _share(said.colour.argmax(1)[colours == 0] == 0),
        "pair_found": _share(claimed[shown]),
        "pair_absent": _share(~claimed[~shown]),
    }


def save_probe(probe: Probe, path: Path) -> None:
    """Writes the probe as fp16."""
    save_file({name: v.half() if v.is_floating_point() else v for name, v in probe.state_dict().items()}, path)


def load_probe(path: Path) -> Probe:
    """Reads what `save_probe` wrote."""
    probe = Probe()
    probe.load_state_dict(load_file(path))
    return probe.eval()


def _softened_features(
    judge: Judge, shards: tuple[npt.NDArray[np.uint8], ...], draw: np.random.Generator
) -> torch.Tensor:
    return torch.cat(
        [
            probe_features(judge, soften(to_tensor(np.array(shard[i : i + _BATCH])), draw))
            for shard in shards
            for i in range(0, len(shard), _BATCH)
        ]
    )


def _targets(plans: list[Plan]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Class of style [N], class of colour [N], objects shown [N, objects] as 0 and 1."""
    things = torch.zeros(len(plans), len(THINGS))
    for row, plan in enumerate(plans):
        things[row, list(plan.things)] = 1
    styles = torch.tensor([STYLE_KEYS.index(plan.style) for plan in plans])
    colours = torch.tensor([COLOUR_KEYS.index(plan.colour) for plan in plans])
    return styles, colours, things


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return round(float(hits.mean()), 4)
