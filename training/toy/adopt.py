"""Starts a work folder from a base, so that training goes on where the repository's weights stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from training.toy.loop import append_curve, save_checkpoint
from training.toy.parts import AutoencoderKL, UNet2DConditionModel
from training.toy.paths import Work
from training.toy.unet import Denoiser, UnetRecipe


def adopt_base(base: Path, work: Work) -> None:
    """Copies tokenizer, VAE and the denoiser's averaged weights from `base`; the optimizer's momenta begin anew.

    Raises:
        FileExistsError: the work folder holds a training already, which would be lost.
    """
    if (work.unet / "state.pt").exists():
        raise FileExistsError(f"{work.unet} holds a training already: go on with `unet`, or choose another --work")
    shutil.copytree(base / "tokenizer", work.tokenizer, dirs_exist_ok=True)
    vae = AutoencoderKL.from_pretrained(base / "vae", torch_dtype=torch.float32)
    vae.save_pretrained(work.vae / "final")
    model = Denoiser(CLIPTokenizer.from_pretrained(work.tokenizer))
    unet = UNet2DConditionModel.from_pretrained(base / "unet", torch_dtype=torch.float32)
    text_encoder = CLIPTextModel.from_pretrained(base / "text_encoder", dtype=torch.float32)
    model.unet.load_state_dict(unet.state_dict())
    model.text_encoder.load_state_dict(text_encoder.state_dict())
    curves = json.loads((base / "curves.json").read_text(encoding="utf-8"))
    for name, folder in (("vae", work.vae), ("unet", work.unet)):
        for entry in curves[name]:
            append_curve(folder / "curve.jsonl", **entry)
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    step = curves["unet"][-1]["pictures"] // UnetRecipe().batch
    save_checkpoint(work.unet / "state.pt", {"model": model.state_dict(), "average": weights, "step": step})
