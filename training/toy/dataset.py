"""The training pictures on disk: shards of raw pictures with their plans, made once, read as memory maps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.toy.world import SIZE, Picture, Plan, World

SHARD = 2000  # pictures per shard


def shard_path(folder: Path, number: int) -> Path:
    """File of shard `number`."""
    return folder / f"{number:04d}.npy"


def write_shard(world: World, folder: Path, number: int) -> None:
    """Draws shard `number` of the world and writes ``NNNN.npy`` last, so that a present shard is a whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.empty((SHARD, SIZE, SIZE, 3), dtype=np.uint8)
    plans: list[dict[str, Any]] = []
    for index in range(SHARD):
        pictures[index], plan = world.sample(number * SHARD + index)
        plans.append({**asdict(plan), "caption": plan.caption})
    target = shard_path(folder, number)
    target.with_suffix(".json").write_text(json.dumps(plans), encoding="utf-8")
    part = target.with_suffix(".part.npy")
    np.save(part, pictures)
    part.replace(target)


@dataclass(frozen=True)
class Pictures:
    """The shards that exist, read as one list."""

    shards: tuple[npt.NDArray[np.uint8], ...]  # each [SHARD, SIZE, SIZE, 3]

    @classmethod
    def open(cls, folder: Path) -> Pictures:
        """Maps the whole shards 0, 1, ... of `folder`.

        Raises:
            FileNotFoundError: there is none; says which command makes them.
        """
        shards: list[npt.NDArray[np.uint8]] = []
        while (path := shard_path(folder, len(shards))).exists():
            shards.append(np.load(path, mmap_mode="r"))
        if not shards:
            raise FileNotFoundError(f"no pictures in {folder}: run `python -m training.toy data` first")
        return cls(tuple(shards))

    def __len__(self) -> int:
        return len(self.shards) * SHARD

    def __getitem__(self, index: int) -> Picture:
        picture: Picture = self.shards[index // SHARD][index % SHARD]
        return picture

    def batch(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Pictures by index, [B, SIZE, SIZE, 3]."""
        return np.stack([self[int(index)] for index in indices])


def read_plans(folder: Path, shards: int) -> Iterator[Plan]:
    """The plans of the first `shards` shards, in order."""
    for number in range(shards):
        for entry in json.loads(shard_path(folder, number).with_suffix(".json").read_text(encoding="utf-8")):
            entry.pop("caption")
            entry["things"] = tuple(entry["things"])
            yield Plan(**entry)


def write_validation(world: World, folder: Path, count: int = 256) -> None:
    """Pictures of another seed, held-out pairs among them: what the VAE is measured on. ``validation.npy``."""
    pictures = np.stack([world.sample(index)[0] for index in range(count)])
    np.save(folder / "validation.npy", pictures)
