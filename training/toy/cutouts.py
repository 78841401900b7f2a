"""Cut-outs: every object of the world on a transparent ground, from emoji pictures and rendered models."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.toy.catalogue import Model, load_catalogue
from training.toy.vocabulary import THINGS, Thing

CUTOUT_SIZE = 128  # pixels a side
VIEWS = 16  # views rendered per model
BLENDER = Path(__file__).with_name("blender.py")

Cutout = npt.NDArray[np.uint8]  # [h, w, 4] RGBA, cropped to the object, longer side CUTOUT_SIZE


def view_job(model: Model, out: Path, index: int) -> dict[str, Any]:
    """One transparent view: azimuths spread over the front three quarters, light and height drawn from a fixed seed."""
    draw = random.Random(f"{model.id}/{index}")
    return {
        "out": str(out),
        "model": str(model.path),
        "rotation": list(model.rotation),
        "azimuth": -75 + 150 * (index + draw.uniform(0.2, 0.8)) / VIEWS,
        "elevation": draw.uniform(8, 32),
        "fill": 0.94,
        "size": CUTOUT_SIZE,
        "samples": 12,
        "sun": [draw.uniform(-60, 60), draw.uniform(35, 65), draw.uniform(2.0, 3.0)],
        "ambient": [draw.uniform(0.6, 0.8)] * 3,
    }


def view_paths(model_id: str, folder: Path) -> list[Path]:
    """Files of the rendered views of a model."""
    stem = model_id.replace("#", "-").replace(" ", "-").lower()
    return [folder / f"{stem}-{index:02d}.png" for index in range(VIEWS)]


def render_jobs(furniture: Path, folder: Path) -> list[dict[str, Any]]:
    """The jobs for every model of the world, one view of each first, so that faults show early."""
    models = load_catalogue(furniture)
    used = [models[model_id] for thing in THINGS for model_id in thing.models]
    return [view_job(model, view_paths(model.id, folder)[i], i) for i in range(VIEWS) for model in used]


def run_blender(python: Path, jobs: list[dict[str, Any]], work: Path, progress: Callable[[int], None]) -> None:
    """Renders `jobs` with Blender's interpreter; calls `progress` with the number of finished pictures.

    Raises:
        RuntimeError: Blender ended with an error; holds its last lines.
    """
    listing = work / f"jobs-{os.getpid()}.json"
    listing.write_text(json.dumps(jobs), encoding="utf-8")
    command = [str(python), str(BLENDER), str(listing)]
    tail: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tail = [*tail[-20:], line]
            if line.startswith("RENDER "):
                progress(int(line.split()[1].split("/")[0]))
    listing.unlink()
    if process.returncode:
        raise RuntimeError(f"Blender failed with exit status {process.returncode}:\n{''.join(tail)}")


def load_cutout(path: Path) -> Cutout:
    """Reads an RGBA picture, crops it to what is opaque, and scales its longer side to `CUTOUT_SIZE`."""
    picture = Image.open(path).convert("RGBA")
    box = picture.getchannel("A").point(lambda value: 255 if value > 12 else 0).getbbox()
    if box is None:
        raise ValueError(f"{path.name} is empty: delete it and render again")
    picture = picture.crop(box)
    scale = CUTOUT_SIZE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def thing_paths(thing: Thing, emoji: Path, folder: Path) -> list[Path]:
    """Files of all pictures of one object."""
    paths = [emoji / f"{code}.webp" for code in thing.emoji]
    return paths + [path for model_id in thing.models for path in view_paths(model_id, folder)]


def load_cutouts(emoji: Path, folder: Path) -> list[list[Cutout]]:
    """The cut-outs of every object in the order of `THINGS`."""
    return [[load_cutout(path) for path in thing_paths(thing, emoji, folder)] for thing in THINGS]
