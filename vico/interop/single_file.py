"""A single-file checkpoint of Stable Diffusion 1.x → a diffusers folder, offline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vico.base_files import MODEL_INDEX
from vico.errors import BaseError
from vico.interop.clip_vocabulary import place_tokenizer
from vico.interop.sd1 import SD1, Architecture
from vico.ldm import names_to_ldm

_UNET, _VAE, _TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
_ACCEPTED = "a single-file .safetensors checkpoint of Stable Diffusion 1.x"


def import_base(file: Path, out: Path, tokenizer: Path | None = None, architecture: Architecture = SD1) -> None:
    """Write the base in `file` to the folder `out`, its weights as they are; equal files give equal folders.

    The folder appears whole or not at all. Nothing but tensors is read.

    Raises:
        BaseError: `out` is there already, no tokenizer is found, or names what the checkpoint lacks.
    """
    if out.exists():
        raise BaseError("out", f"{out.name} is there already", "a folder that is not")
    tensors = _load(file)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        place_tokenizer(partial / "tokenizer", tokenizer, file.parent / "tokenizer")
        _write_networks(tensors, partial, architecture)
        scheduler = {"_class_name": "DDIMScheduler", **architecture.scheduler}
        _write_json(partial / "scheduler" / "scheduler_config.json", scheduler)
        _write_json(partial / "model_index.json", MODEL_INDEX)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_networks(tensors: Mapping[str, Tensor], folder: Path, architecture: Architecture) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**architecture.unet)
        vae = AutoencoderKL(**architecture.vae)
        text = CLIPTextModel(CLIPTextConfig(**architecture.text_encoder))
    ldm = names_to_ldm(unet)
    plain = {ours: tensors[_UNET + theirs] for ours, theirs in ldm.items() if _UNET + theirs in tensors}
    _write(folder / "unet", "UNet2DConditionModel", architecture.unet, _fitting(unet, plain, "U-Net"))
    part = {name: tensor for name, tensor in tensors.items() if name.startswith(_VAE)}
    converted = convert_ldm_vae_checkpoint(part, architecture.vae) if part else {}
    _write(folder / "vae", "AutoencoderKL", architecture.vae, _fitting(vae, converted, "VAE"))
    words = {name.removeprefix(_TEXT): tensor for name, tensor in tensors.items() if name.startswith(_TEXT)}
    config = {"model_type": "clip_text_model", "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    _write(folder / "text_encoder", "", {**architecture.text_encoder, **config}, _fitting(text, words, "text encoder"))


def _fitting(network: Any, tensors: Mapping[str, Tensor], named: str) -> dict[str, Tensor]:
    """The tensors that `network` has, by the names on disk. Whatever else a checkpoint carries is left out."""
    fitting: dict[str, Tensor] = {}
    for name, expected in network.state_dict().items():
        # younger versions of transformers leave the outermost name out in memory, not on disk
        on_disk = (
            name if name in tensors or named != "text encoder" else f"text_model.{name.removeprefix('text_model.')}"
        )
        tensor = tensors.get(on_disk)
        if tensor is None:
            raise BaseError("base", f"tensor {name} of its {named} is missing", _ACCEPTED)
        if tensor.shape != expected.shape or not tensor.is_floating_point():
            found = f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
            raise BaseError("base", f"tensor {name} of its {named} is {found}", f"{list(expected.shape)}, as in 1.x")
        fitting[on_disk] = tensor.contiguous()
    return fitting


def _write(folder: Path, kind: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    # no version of any library: the digest of a base is over its configs too
    _write_json(folder / "config.json", {**({"_class_name": kind} if kind else {}), **config})
    name = "diffusion_pytorch_model.safetensors" if kind else "model.safetensors"
    save_file(dict(tensors), folder / name, metadata={"format": "pt"})


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _load(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise BaseError("base", f"{file.name} is not a file", _ACCEPTED)
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError):
        raise BaseError("base", f"{file.name} is torn, or no safetensors file", _ACCEPTED) from None
