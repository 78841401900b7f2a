"""The judge: a small classifier that names object and scene of a picture, trained on the world's ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from training.toy.dataset import Pictures, read_plans
from training.toy.loop import Schedule, load_checkpoint, progress_bar, save_checkpoint, set_rate
from training.toy.muon import Pair, muon_for
from training.toy.vae import to_tensor
from training.toy.vocabulary import SCENES, THINGS


@dataclass(frozen=True)
class JudgeRecipe:
    """How the judge is trained."""

    steps: int = 500
    batch: int = 64
    rate: float = 4e-3
    seed: int = 0


class Judge(torch.nn.Module):
    """A residual network of 0.5 M parameters with two heads. It never sees a picture that the base made."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 32, 4, stride=2, padding=1)
        self.blocks = torch.nn.Sequential(Block(32, 64), Block(64, 96), Block(96, 128))
        self.objects = torch.nn.Linear(128, len(THINGS))
        self.scenes = torch.nn.Linear(128, len(SCENES))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images [B, 3, 64, 64] in -1..1 to object logits [B, objects] and scene logits [B, scenes]."""
        features = self.blocks(F.relu(self.stem(images)))
        pooled = features.mean(dim=(2, 3))
        return self.objects(features.amax(dim=(2, 3)) + pooled), self.scenes(pooled)


class Block(torch.nn.Module):
    """Halves the size, then one residual convolution."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.down = torch.nn.Conv2d(width_in, width_out, 3, stride=2, padding=1, bias=False)
        self.first = torch.nn.BatchNorm2d(width_out)
        self.same = torch.nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.second = torch.nn.BatchNorm2d(width_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [B, in, h, w] to [B, out, h/2, w/2]."""
        features = F.relu(self.first(self.down(features)))
        return F.relu(features + self.second(self.same(features)))


def soften(images: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """Augments a batch: mirroring, shifts, brightness, noise, and the softness of a VAE (down and up again, blur)."""
    if draw.random() < 0.5:
        images = images.flip(-1)
    down, across = (int(value) for value in draw.integers(-4, 5, size=2))
    images = F.pad(images, (4, 4, 4, 4), mode="replicate")[..., 4 + down : 68 + down, 4 + across : 68 + across]
    kind = draw.random()
    if kind < 0.3:
        small = F.interpolate(images, size=int(draw.integers(20, 48)), mode="area")
        images = F.interpolate(small, size=64, mode="bilinear", align_corners=False)
    elif kind < 0.5:
        images = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    light = torch.from_numpy(draw.uniform(0.85, 1.15, size=(len(images), 3, 1, 1)).astype(np.float32))
    grain = torch.from_numpy(draw.normal(0, draw.uniform(0, 0.06), size=images.shape).astype(np.float32))
    return (images * light + grain).clamp(-1, 1)


@dataclass(frozen=True)
class Labels:
    """Ground truth of the pictures that show one object on a scene."""

    index: npt.NDArray[np.int64]  # of the picture
    thing: npt.NDArray[np.int64]
    scene: npt.NDArray[np.int64]


def read_labels(folder: Path, shards: int) -> Labels:
    """Labels of the first `shards` shards."""
    rows = [
        (number, plan.things[0], plan.scene)
        for number, plan in enumerate(read_plans(folder, shards))
        if len(plan.things) == 1
    ]
    index, thing, scene = np.array(rows, dtype=np.int64).T
    return Labels(index, thing, scene)


def train_judge(folder: Path, work: Path, recipe: JudgeRecipe) -> Judge:
    """Trains to the recipe's end, going on from ``judge.pt`` in `work`."""
    torch.manual_seed(recipe.seed)
    judge, pictures = Judge(), Pictures.open(folder)
    optimizer = muon_for(judge, recipe.rate, decay=0.02)
    state = load_checkpoint(work / "judge.pt") or {"step": 0}
    if state["step"]:
        judge.load_state_dict(state["judge"])
        optimizer.load_state_dict(state["optimizer"])
    if state["step"] < recipe.steps:
        labels = read_labels(folder, len(pictures.shards))
        _fit(judge, optimizer, pictures, labels, recipe, state["step"], work)
    return judge.eval()


def _fit(
    judge: Judge,
    optimizer: Pair,
    pictures: Pictures,
    labels: Labels,
    recipe: JudgeRecipe,
    first: int,
    work: Path,
) -> None:
    schedule = Schedule(recipe.rate, 40, recipe.steps)
    judge.train()
    with progress_bar() as bar:
        task = bar.add_task("judge", total=recipe.steps, completed=first, note="")
        for step in range(first, recipe.steps):
            draw = np.random.default_rng([recipe.seed, step])
            chosen = draw.integers(0, len(labels.index), size=recipe.batch)
            images = soften(to_tensor(pictures.batch(labels.index[chosen])), draw)
            set_rate(optimizer.param_groups, schedule.rate(step))
            things, scenes = judge(images)
            loss = F.cross_entropy(things, torch.from_numpy(labels.thing[chosen]), label_smoothing=0.05)
            loss = loss + 0.5 * F.cross_entropy(scenes, torch.from_numpy(labels.scene[chosen]), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            bar.update(task, advance=1, note=f"loss {loss.item():.3f}")
            if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
                saved = {"judge": judge.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
                save_checkpoint(work / "judge.pt", saved)


def save_judge(judge: Judge, path: Path) -> None:
    """Writes the judge as fp16, so that later bases are measured by the same one."""
    save_file({name: value.half() for name, value in judge.state_dict().items()}, path)


def load_judge(path: Path) -> Judge:
    """Reads what `save_judge` wrote."""
    judge = Judge()
    judge.load_state_dict(load_file(path))
    return judge.eval()


@torch.no_grad()
def judge_logits(
    judge: Judge, pictures: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Object logits [N, objects] and scene logits [N, scenes] of pictures [N, 64, 64, 3]."""
    parts = [judge(to_tensor(pictures[i : i + 64])) for i in range(0, len(pictures), 64)]
    return torch.cat([p[0] for p in parts]).numpy(), torch.cat([p[1] for p in parts]).numpy()
