"""Writes the base in the folder layout of diffusers, fp16, with its attributions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt

from training.toy.catalogue import Model, load_catalogue
from training.toy.parts import AutoencoderKL, PNDMScheduler
from training.toy.sampling import noise_schedule
from training.toy.unet import Denoiser
from training.toy.vocabulary import THINGS, held_out_scenes


def scheduler_of_the_family() -> PNDMScheduler:
    """Stable Diffusion 1.x's scheduler configuration."""
    schedule = noise_schedule().config
    kept = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "set_alpha_to_one", "steps_offset")
    scheduler = PNDMScheduler(**{key: schedule[key] for key in kept}, skip_prk_steps=True)
    scheduler.register_to_config(clip_sample=False)  # for the schedulers that are made from this configuration
    return scheduler


def model_index() -> dict[str, Any]:
    """``model_index.json``: tells diffusers the class of each folder."""
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def export_base(folder: Path, model: Denoiser, vae: AutoencoderKL, tokens: Path) -> None:
    """Saves the base to `folder` as fp16; the tokenizer's files are copied from `tokens` as they were trained."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("unet", model.unet), ("text_encoder", model.text_encoder), ("vae", vae)):
        part.half().save_pretrained(folder / name, safe_serialization=True)
    config = folder / "text_encoder" / "config.json"  # transformers loads in the stored type, diffusers in float32
    config.write_text(config.read_text(encoding="utf-8").replace('"float16"', '"float32"'), encoding="utf-8")
    scheduler_of_the_family().save_pretrained(folder / "scheduler")
    shutil.copytree(tokens, folder / "tokenizer", dirs_exist_ok=True)
    pairs = {thing.name: held_out_scenes(number) for number, thing in enumerate(THINGS)}
    for name, content in (("model_index", model_index()), ("held-out-pairs", pairs)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def attributions(furniture: Path) -> str:
    """``ATTRIBUTION.md``: where every picture of the world comes from."""
    models: dict[str, Model] = load_catalogue(furniture)
    used = [(thing.name, models[model_id]) for thing in THINGS for model_id in thing.models]
    rows = [f"| {name} | {model.name} (`{model.id}`) | {model.creator} | {model.licence} |" for name, model in used]
    emoji = ", ".join(f"{thing.name} ({code})" for thing in THINGS for code in thing.emoji)
    return "\n".join(
        [
            "# Attribution",
            "",
            "The base was trained on pictures composited from the following works, all of which allow it.",
            "",
            "## Emoji",
            "Fluent Emoji 3D, copyright Microsoft Corporation, MIT licence, from npm `@lobehub/fluent-emoji-3d` 1.1.0:",
            f"{emoji}.",
            "",
            "## 3-D models",
            "From Debian's `sweethome3d-furniture` 1.8-1 (eTeks; cleaned and converted to OBJ by Emmanuel Puybaret),",
            "rendered with Blender's Cycles:",
            "",
            "| object | model | author | licence |",
            "|---|---|---|---|",
            *rows,
            "",
            "CC0-1.0: <https://creativecommons.org/publicdomain/zero/1.0/>; CC-BY-3.0:",
            "<https://creativecommons.org/licenses/by/3.0/>; CC-BY-3.0-US:",
            "<https://creativecommons.org/licenses/by/3.0/us/>.",
            "The scenes are painted by this project's own code.",
            "",
        ]
    )


def load_photos(folder: Path, size: int) -> npt.NDArray[np.uint8]:
    """Every sample photo, scaled to `size`, [N, size, size, 3]."""
    from PIL import Image

    paths = sorted(folder.rglob("*.jpg"))
    scaled = [Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BOX) for path in paths]
    return np.stack([np.asarray(picture) for picture in scaled])
