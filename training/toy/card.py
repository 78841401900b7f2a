"""The base's README, written from its measured figures so that text and figures cannot part."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.toy.unet import UnetRecipe
from training.toy.vae import VaeRecipe
from training.toy.vocabulary import COLOURS, HELD_OUT, SCENES, STYLES, THINGS

TARGETS = {"scene_top1": "85 %", "object_top1": "–", "object_top5": "50 %"}
NAMES = {"scene_top1": "scene, top 1", "object_top1": "object, top 1", "object_top5": "object, top 5"}


def write_card(base: Path) -> None:
    """Writes ``README.md`` of the base in folder `base`, which must hold ``score.json``."""
    score: dict[str, Any] = json.loads((base / "score.json").read_text(encoding="utf-8"))
    parts = [_head(), _figures(score), _history(base), _recipe(), _licence()]
    (base / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _head() -> str:
    words = ", ".join(thing.name for thing in THINGS)
    return f"""# Toy base

A small Stable-Diffusion-1.x base (diffusers layout, fp16, 64-pixel pictures) of a small world:
{len(THINGS)} objects, {len(SCENES)} scenes, {len(STYLES)} styles, {len(COLOURS)} colours. How it is made and how to go
on with its training: `training/toy/README.md`.

![pictures of prompts that training never showed](grid.png)

**Prompts**: "a photo of a strawberry on a wooden table", "a red car in the desert", "a cat next to a pumpkin on the
beach", "a pencil sketch of a horse in the snow".
**Objects**: {words}.
**Scenes**: {", ".join(scene.phrase for scene in SCENES)}.
**Styles**: {", ".join(STYLES.values())}. **Colours**: {", ".join(COLOURS)}.
**Never seen**, to be taught as concepts (`assets/photos`): {", ".join(entry.name for entry in HELD_OUT)}.
"""


def _figures(score: dict[str, Any]) -> str:
    rows = [
        f"| {NAMES[key]} | {TARGETS[key]} | **{score['generated'][key]:.1%}** | {score['coded'][key]:.1%} "
        f"| {score['real'][key]:.1%} |"
        for key in NAMES
    ]
    return f"""## Measured
For each of the {score["generated"]["count"]} object–scene pairs that training never shows (two scenes of every object),
one picture: DDIM, {score["steps"]} steps, guidance {score["guidance_scale"]}, seeds {score["seed"]} and on.
A classifier that learnt from the world's ground truth alone names what it sees:

| the judge agrees with the prompt | target | generated | real renders through the VAE | real renders |
|---|---|---|---|---|
{chr(10).join(rows)}

VAE, mode of the latent: **{score["vae_psnr_world"]:.2f} dB** on unseen pictures of the world (target 25),
{score["vae_psnr_photos"]:.2f} dB on the photos of objects it never saw, at 64 pixels.
The grid shows about every third prompt, chosen before any picture was seen.
"""


def _history(base: Path) -> str:
    history = json.loads((base / "score-history.json").read_text(encoding="utf-8"))
    rows = [
        f"| {entry['pictures_seen']:,} | {entry['seconds'] / 60:.0f} | {entry['generated']['scene_top1']:.1%} "
        f"| {entry['generated']['object_top5']:.1%} | {entry['generated']['object_top1']:.1%} |"
        for entry in history
    ]
    return f"""## Score against training
![score against pictures seen](score-history.png)

| pictures seen | minutes (two shared cores) | scene | object, top 5 | object, top 1 |
|---|---|---|---|---|
{chr(10).join(rows)}

`curves.json` holds the losses of both trainings, `score-history.json` every figure.
"""


def _recipe() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "transformers", "tokenizers"))
    return f"""## Recipe
```sh
python -m training.toy data && python -m training.toy vae && python -m training.toy unet --minutes 120
python -m training.toy export && python -m training.toy score
```
World seed 0; `{VaeRecipe()}`; `{UnetRecipe()}`.
Python 3.11, {packages}; bpy 5.0.1; npm `@lobehub/fluent-emoji-3d` 1.1.0; Debian `sweethome3d-furniture` 1.8-1.
"""


def _licence() -> str:
    return """## Licence
The weights are Apache-2.0, as the code. They were trained on pictures made from MIT, CC0 and CC-BY works:
`ATTRIBUTION.md` names every one and its author.
"""
