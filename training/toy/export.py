"""Writes the base in the folder layout of diffusers, fp16, with its attributions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import CLIPTokenizer

from training.toy.catalogue import Model, load_catalogue
from training.toy.parts import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline
from training.toy.sampling import noise_schedule
from training.toy.unet import Denoiser
from training.toy.vocabulary import THINGS, held_out_scenes


def assemble(model: Denoiser, vae: AutoencoderKL, tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
    """The parts as a Stable Diffusion 1.x pipeline with SD 1.x's scheduler configuration."""
    schedule = noise_schedule().config
    kept = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "set_alpha_to_one", "steps_offset")
    scheduler = PNDMScheduler(**{key: schedule[key] for key in kept}, skip_prk_steps=True, clip_sample=False)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export_base(folder: Path, model: Denoiser, vae: AutoencoderKL, tokenizer: CLIPTokenizer, tokens: Path) -> None:
    """Saves the base to `folder`; the tokenizer's files are copied from `tokens` as they were trained."""
    pipeline = assemble(model, vae, tokenizer).to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    for stale in (folder / "tokenizer").iterdir():
        stale.unlink()
    for file in tokens.iterdir():
        (folder / "tokenizer" / file.name).write_bytes(file.read_bytes())
    pairs = {thing.name: held_out_scenes(number) for number, thing in enumerate(THINGS)}
    (folder / "held-out-pairs.json").write_text(json.dumps(pairs, indent=0) + "\n", encoding="utf-8")


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

    paths = sorted(folder.glob("*/*.jpg"))
    scaled = [Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BOX) for path in paths]
    return np.stack([np.asarray(picture) for picture in scaled])
