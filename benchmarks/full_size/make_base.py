"""A base of a given architecture with random weights: for sizes and times, not for pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from benchmarks.full_size.architecture import Architecture
from vico.base_files import MODEL_INDEX
from vico.errors import BaseError


def make_base(folder: Path, architecture: Architecture, *, half: bool = True, seed: int = 0) -> int:
    """Write a diffusers folder with random weights; returns the U-Net's number of parameters.

    The tokenizer is the toy world's, which needs no download: its ids are fewer than the text encoder knows, its end
    token is still the greatest that occurs. Equal seeds give equal bases. Written beside and renamed, so that the
    folder is there whole or not at all.

    Raises:
        BaseError: the folder is there already.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from training.toy.tokens import write_tokenizer

    if folder.exists():
        raise BaseError("out", f"{folder} is there already", "a folder that is not")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer = write_tokenizer(partial / "tokenizer")
    end = tokenizer.eos_token_id
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": end, "pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _save(CLIPTextModel(CLIPTextConfig(**architecture.text_encoder, **ids)), partial / "text_encoder", half)
        _save(AutoencoderKL(**architecture.vae), partial / "vae", half)
        unet = UNet2DConditionModel(**architecture.unet)
        parameters: int = sum(parameter.numel() for parameter in unet.parameters())
        _save(unet, partial / "unet", half)
    DDIMScheduler(**architecture.scheduler).save_pretrained(partial / "scheduler")
    (partial / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n")
    partial.rename(folder)
    return parameters


def _save(network: Any, folder: Path, half: bool) -> None:
    (network.half() if half else network).save_pretrained(folder)
