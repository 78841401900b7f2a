"""Sample photos of the held-out objects: five to train a concept on and three views to test it with."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from training.toy.catalogue import Model, load_catalogue
from training.toy.vocabulary import HeldOut

PHOTO_SIZE = 256  # pixels a side
TRAIN, TEST = 5, 3  # photos per concept

_SKY = {"kind": "plain", "a": [0.45, 0.66, 0.9], "b": [0, 0, 0], "distance": 6.0}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "planks": (
        {"kind": "planks", "a": [0.42, 0.2, 0.08], "b": [0.12, 0.05, 0.02], "scale": 2.2},
        {"kind": "plain", "a": [0.68, 0.64, 0.54], "b": [0, 0, 0], "distance": 1.6},
    ),
    "checker": (
        {"kind": "checker", "a": [0.78, 0.76, 0.72], "b": [0.03, 0.03, 0.03], "scale": 2.4},
        {"kind": "plain", "a": [0.3, 0.36, 0.42], "b": [0, 0, 0], "distance": 2.0},
    ),
    "carpet": (
        {"kind": "speckle", "a": [0.4, 0.01, 0.02], "b": [0.55, 0.03, 0.04], "scale": 9.0},
        {"kind": "plain", "a": [0.75, 0.68, 0.5], "b": [0, 0, 0], "distance": 1.8},
    ),
    "lawn": ({"kind": "speckle", "a": [0.05, 0.2, 0.02], "b": [0.18, 0.42, 0.06], "scale": 16.0}, _SKY),
    "sand": ({"kind": "speckle", "a": [0.72, 0.55, 0.3], "b": [0.85, 0.72, 0.48], "scale": 6.0}, _SKY),
    "bricks": (
        {"kind": "speckle", "a": [0.24, 0.24, 0.24], "b": [0.32, 0.31, 0.3], "scale": 5.0},
        {"kind": "brick", "a": [0.45, 0.12, 0.07], "b": [0.5, 0.45, 0.38], "scale": 4.0, "distance": 1.3},
    ),
    "marble": (
        {"kind": "marble", "a": [0.82, 0.81, 0.79], "b": [0.6, 0.6, 0.62], "scale": 2.5},
        {"kind": "plain", "a": [0.05, 0.14, 0.14], "b": [0, 0, 0], "distance": 2.0},
    ),
    "table": (
        {"kind": "wood", "a": [0.3, 0.15, 0.06], "b": [0.5, 0.28, 0.12], "scale": 3.0},
        {"kind": "plain", "a": [0.5, 0.58, 0.48], "b": [0, 0, 0], "distance": 2.2},
    ),
}
"""Floor and wall of each setting: surface kind, two linear RGB colours, texture scale."""


@dataclass(frozen=True)
class ConceptEntry:
    """One entry of ``concepts.json``."""

    id: str
    init_word: str
    name: str
    model: str
    author: str
    licence: str  # SPDX
    train: list[str]
    heldout: list[str]


def photo_names(concept: str) -> list[str]:
    """The files of one concept, training photos first."""
    return [f"{concept}/train/{i}.jpg" for i in range(TRAIN)] + [f"{concept}/heldout/{i}.jpg" for i in range(TEST)]


def photo_jobs(entry: HeldOut, model: Model, folder: Path) -> list[dict[str, Any]]:
    """Eight views of one concept, each in a setting of its own; views and settings are shuffled by a fixed seed."""
    draw = random.Random(entry.concept)
    turns = [-70 + 140 * (i + draw.uniform(0.25, 0.75)) / (TRAIN + TEST) for i in range(TRAIN + TEST)]
    settings = list(SETTINGS.values())
    draw.shuffle(turns)
    draw.shuffle(settings)
    jobs = []
    for name, turn, (floor, wall) in zip(photo_names(entry.concept), turns, settings, strict=True):
        jobs.append(
            {
                "out": str(folder / name.replace("/", "-", 1).replace("/", "_").replace(".jpg", ".png")),
                "model": str(model.path),
                "rotation": list(model.rotation),
                "azimuth": turn,
                "elevation": draw.uniform(9, 28),
                "fill": draw.uniform(*entry.fill),
                "size": PHOTO_SIZE,
                "samples": 32,
                "sun": [draw.choice((-1, 1)) * draw.uniform(20, 70), draw.uniform(35, 60), draw.uniform(1.6, 2.8)],
                "ambient": [level := draw.uniform(0.55, 0.75), level, level * draw.uniform(0.92, 1.05)],
                "shift": [draw.uniform(-0.1, 0.1), draw.uniform(-0.12, 0.02)],
                "floor": floor,
                "wall": {**wall, "turn": draw.uniform(-25, 25)},
            }
        )
    return jobs


def all_jobs(things: Sequence[HeldOut], furniture: Path, folder: Path) -> list[dict[str, Any]]:
    """The jobs of all of `things`, in their order."""
    models = load_catalogue(furniture)
    return [job for entry in things for job in photo_jobs(entry, models[entry.model], folder)]


def publish(things: Sequence[HeldOut], furniture: Path, folder: Path, out: Path, command: str) -> None:
    """Writes the rendered photos as JPEGs, ``concepts.json`` and ``README.md`` under `out`."""
    names = [name for entry in things for name in photo_names(entry.concept)]
    for job, name in zip(all_jobs(things, furniture, folder), names, strict=True):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(job["out"]).convert("RGB").save(out / name, quality=92)
    models = load_catalogue(furniture)
    entries = [concept_entry(entry, models[entry.model]) for entry in things]
    (out / "concepts.json").write_text(json.dumps([asdict(entry) for entry in entries], indent=1) + "\n")
    (out / "README.md").write_text(readme(entries, command), encoding="utf-8")


def concept_entry(entry: HeldOut, model: Model) -> ConceptEntry:
    """What ``concepts.json`` says of one concept."""
    names = [name.split("/", 1)[1] for name in photo_names(entry.concept)]
    return ConceptEntry(
        entry.concept, entry.init_word, entry.name, model.id, model.creator, model.licence, names[:TRAIN], names[TRAIN:]
    )


def readme(entries: list[ConceptEntry], command: str) -> str:
    """``README.md`` of the photos that `command` makes."""
    rows = [f"| `{e.id}` | {e.name} | {e.init_word} | {e.model} | {e.author} | {e.licence} |" for e in entries]
    return "\n".join(
        [
            "# Sample photos",
            "",
            f"{len(entries)} objects that the toy base never saw, rendered with Cycles: {TRAIN} photos to train a",
            f"concept on (`train/`) and {TEST} other views to test it with (`heldout/`), {PHOTO_SIZE} pixels",
            "a side, every one from another side, on another floor, in other light.",
            f"Made by `{command}`; `concepts.json` holds the same table for programs.",
            "",
            "The 3-D models come from Debian's `sweethome3d-furniture` (eTeks, cleaned and converted to OBJ by",
            "Emmanuel Puybaret). The renders may be used under the licence of the model; CC-BY asks to name its",
            "author:",
            "",
            "| folder | object | init word | model | author | licence |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
