"""Measures a base folder: pictures of the held-out prompts, judged beside real renders; figures, curve and grid."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from training.toy.card import write_card
from training.toy.export import load_photos
from training.toy.judge import Judge
from training.toy.parts import AutoencoderKL, UNet2DConditionModel
from training.toy.sampling import GUIDANCE, STEPS, sample
from training.toy.score import (
    Score,
    accuracy,
    append_score,
    evaluation_plans,
    grid_choice,
    plot_history,
    real_pictures,
)
from training.toy.sheets import save_sheet
from training.toy.vae import psnr, reconstruct
from training.toy.world import SIZE, World

SEED = 1000


def evaluate(base: Path, judge: Judge, world: World, validation: npt.NDArray[np.uint8], photos: Path) -> dict[str, Any]:
    """Scores the base in `base` and writes the results into it; returns the score."""
    part = {"torch_dtype": torch.float32}
    vae = AutoencoderKL.from_pretrained(base / "vae", **part).eval()
    unet = UNet2DConditionModel.from_pretrained(base / "unet", **part).eval()
    text_encoder = CLIPTextModel.from_pretrained(base / "text_encoder", dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    plans = evaluation_plans()
    real = real_pictures(world, plans)
    concepts = load_photos(photos, SIZE)
    spent = json.loads((base / "curves.json").read_text(encoding="utf-8"))["unet"][-1]
    generated = sample(unet, text_encoder, vae, tokenizer, [plan.caption for plan in plans], SEED)
    score = Score(
        pictures_seen=spent["pictures"],
        seconds=spent["seconds"],
        generated=accuracy(judge, generated, plans),
        real=accuracy(judge, real, plans),
        coded=accuracy(judge, reconstruct(vae, real), plans),
        vae_psnr_world=round(psnr(validation, reconstruct(vae, validation)), 2),
        vae_psnr_photos=round(psnr(concepts, reconstruct(vae, concepts)), 2),
        guidance_scale=GUIDANCE,
        steps=STEPS,
        seed=SEED,
    )
    append_score(base, score)
    plot_history(base)
    chosen = grid_choice(len(plans))
    save_sheet(base / "grid.png", generated[chosen], [plans[i].caption for i in chosen])
    write_card(base)
    return asdict(score)
