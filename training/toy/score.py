"""The score of a base: does the judge find the object and the scene that held-out prompts asked for?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.toy.judge import Judge, judge_logits
from training.toy.vocabulary import held_out_pairs
from training.toy.world import Plan, World


@dataclass(frozen=True)
class Accuracy:
    """How often the judge agrees with the ground truth, 0..1."""

    count: int
    scene_top1: float
    object_top1: float
    object_top5: float


@dataclass(frozen=True)
class Score:
    """One line of ``score.json``: a base against real renders of the same prompts."""

    pictures_seen: int  # by the denoiser in training
    seconds: float  # of training
    generated: Accuracy
    real: Accuracy  # renders of the same held-out pairs
    coded: Accuracy  # the same renders, coded and decoded by the VAE: what a perfect denoiser could reach
    vae_psnr_world: float  # dB, unseen pictures of the world
    vae_psnr_photos: float  # dB, photos of the held-out concepts at 64 pixels
    guidance_scale: float
    steps: int
    seed: int


def evaluation_plans() -> list[Plan]:
    """One plain prompt for every held-out pair."""
    return [Plan((thing,), scene) for thing, scene in held_out_pairs()]


def top_k(logits: npt.NDArray[np.float32], truth: Sequence[int], k: int) -> float:
    """Part of the rows [N, classes] whose true class is among the `k` greatest logits."""
    best = np.argsort(-logits, axis=1)[:, :k]
    return float(np.mean([answer in row for answer, row in zip(truth, best, strict=True)]))


def accuracy(judge: Judge, pictures: npt.NDArray[np.uint8], plans: Sequence[Plan]) -> Accuracy:
    """Judges pictures [N, 64, 64, 3] of the one-object `plans`."""
    things, scenes = judge_logits(judge, pictures)
    truth = [plan.things[0] for plan in plans]
    return Accuracy(
        count=len(plans),
        scene_top1=round(top_k(scenes, [plan.scene for plan in plans], 1), 4),
        object_top1=round(top_k(things, truth, 1), 4),
        object_top5=round(top_k(things, truth, 5), 4),
    )


def real_pictures(world: World, plans: Sequence[Plan]) -> npt.NDArray[np.uint8]:
    """A true picture of every plan, drawn from a seed that training does not use."""
    return np.stack([world.picture(plan, np.random.default_rng([777, i])) for i, plan in enumerate(plans)])


def grid_choice(count: int, tiles: int = 64) -> list[int]:
    """Which prompts the published grid shows: spread evenly, chosen before any picture is seen."""
    return [round(i * (count - 1) / (tiles - 1)) for i in range(tiles)]


def append_score(folder: Path, score: Score) -> None:
    """Writes ``score.json`` (latest) and adds to ``score-history.json`` (all, by pictures seen)."""
    (folder / "score.json").write_text(json.dumps(asdict(score), indent=1) + "\n", encoding="utf-8")
    path = folder / "score-history.json"
    history = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    history = [entry for entry in history if entry["pictures_seen"] != score.pictures_seen] + [asdict(score)]
    history.sort(key=lambda entry: entry["pictures_seen"])
    path.write_text(json.dumps(history, indent=1) + "\n", encoding="utf-8")


def plot_history(folder: Path) -> None:
    """Draws ``score-history.png`` from ``score-history.json``."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    history = json.loads((folder / "score-history.json").read_text(encoding="utf-8"))
    seen = [entry["pictures_seen"] / 1000 for entry in history]
    figure, axes = plt.subplots(figsize=(7, 4))
    for key, label in (("scene_top1", "scene"), ("object_top5", "object, top 5"), ("object_top1", "object, top 1")):
        line = axes.plot(seen, [100 * entry["generated"][key] for entry in history], marker="o", label=label)[0]
        axes.axhline(100 * history[-1]["coded"][key], color=line.get_color(), linewidth=0.8, linestyle=":")
    axes.set_xlabel("thousand pictures seen by the denoiser")
    axes.set_ylabel("% of held-out prompts that the judge confirms")
    axes.set_ylim(0, 101)
    axes.set_title("Toy base on held-out object-scene pairs (dotted: real renders through the VAE)", fontsize=9)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(folder / "score-history.png", dpi=110)
    plt.close(figure)
