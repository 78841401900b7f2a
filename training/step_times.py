"""What a training step costs under each option: `python -m training.step_times`.

Options take turns, step by step, and what is counted is processor time on one thread, so that a busy machine tells the
same as an idle one; the figure is the median.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

_PUBLISHED: Mapping[str, Any] = {}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "published": _PUBLISHED,
    "reference_context=concept": {"reference_context": "concept"},
    "train_references=3": {"train_references": 3},
    "detach": {"detach": True},
    "detach, no regulariser": {"detach": True, "regulariser": "none"},
    "frozen token": {"token_steps": 1},
    "frozen token, concept": {"token_steps": 1, "reference_context": "concept"},
    "frozen token, 3 references": {"token_steps": 1, "train_references": 3},
    "min_snr_gamma=5, masked_loss=0.3": {"min_snr_gamma": 5.0, "masked_loss": 0.3},
    "augmentations=4": {"augmentations": 4},
    "ema=0.98": {"ema": 0.98},
    "caption_drop, image_dropout": {"caption_drop": 0.1, "image_dropout": 0.1},
    "sites=1,2": {"sites": (1, 2)},
}


def main(
    base: Annotated[Path, typer.Option(help="A base.")] = Path("assets/toy-base"),
    photos: Annotated[Path, typer.Option(help="Photos of one thing.")] = Path("assets/photos/teapot/train"),
    steps: Annotated[int, typer.Option(min=3, help="Timed steps of each option.")] = 12,
    only: Annotated[str, typer.Option(help="Names of options, with ';' between; default: all.")] = "",
) -> None:
    """Print milliseconds a step, and their ratio to the published method's."""
    import torch

    from training.photos import load_photos
    from training.recipe import load_recipe
    from training.setup import set_up
    from vico.base import load_base

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    loaded = load_base(base)
    pictures = [photo.picture for photo in load_photos(photos, loaded.default_size)]
    chosen = {"published", *only.split(";")} if only else OPTIONS.keys()
    small = {"size": loaded.default_size, "batch_size": 8, "gradient_checkpointing": False}
    recipes = {name: load_recipe("sd15", base, **small, **fields) for name, fields in OPTIONS.items() if name in chosen}
    trainers = {name: set_up(loaded, recipe, pictures, "toy")[0] for name, recipe in recipes.items()}
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for step in range(steps + 2):
        for name, trainer in trainers.items():
            begun = time.process_time()
            trainer.step(step)
            # the first steps make the optimiser's state, and still train a token that is to be frozen
            if step >= 2:
                times[name].append(time.process_time() - begun)
    for name, seconds in times.items():
        ratio = median(seconds) / median(times["published"])
        print(f"{name:34} {1000 * median(seconds):7.0f} ms   {ratio:.2f}", flush=True)


if __name__ == "__main__":
    typer.run(main)
