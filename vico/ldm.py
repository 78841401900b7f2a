"""Names of a Stable-Diffusion-1.x U-Net in the original (LDM) code, and the names of the same tensors in diffusers.

Source: CompVis latent-diffusion, `openaimodel.py`; the published ViCo checkpoints use these names. An LDM "block" is
numbered through all levels: with L layers a level, encoder level b begins at input block 1 + b (L + 1), decoder level b
at output block b (L + 1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from vico.errors import BaseError

T = TypeVar("T")
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_FIXED: dict[str, Any] = {
    "transformer_depth": 1,
    "use_spatial_transformer": True,
    "conv_resample": True,
    "resblock_updown": False,
    "use_scale_shift_norm": False,
    "num_classes": None,
    "n_embed": None,
    "dims": 2,
}
"""Constructor arguments of the LDM class that Stable Diffusion 1.x leaves alone; others may take any value."""
_IMAGE_BLOCK = "image_cross_attention."


def unet_config(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor numbers of the LDM `UNetModel` (`cfg.json`) → keyword arguments of `UNet2DConditionModel`.

    Raises `BaseError` naming the number that Stable Diffusion 1.x does not cover.
    """
    for name, only in _FIXED.items():
        if cfg.get(name, only) != only:
            raise BaseError(name, f"{cfg[name]!r}", f"{only!r}, as in Stable Diffusion 1.x")
    widths = tuple(cfg["model_channels"] * m for m in cfg["channel_mult"])
    attends = [2**level in cfg["attention_resolutions"] for level in range(len(widths))]
    per_head = cfg.get("num_head_channels", -1)
    return {
        "sample_size": cfg["image_size"],
        "in_channels": cfg["in_channels"],
        "out_channels": cfg["out_channels"],
        "block_out_channels": widths,
        "layers_per_block": cfg["num_res_blocks"],
        "down_block_types": tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        "up_block_types": tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        "cross_attention_dim": cfg["context_dim"],
        # diffusers' name misleads: it is the number of heads
        "attention_head_dim": cfg["num_heads"] if per_head == -1 else tuple(w // per_head for w in widths),
    }


def ldm_name(name: str, layers: int, attends: bool) -> str:
    """LDM name of a diffusers U-Net tensor; `layers` a level, `attends`: its decoder level has transformers."""
    for ours, theirs in _OUTSIDE.items():
        if name.startswith(ours + "."):
            return theirs + name.removeprefix(ours)
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name):
        kind, number, rest = match[1], int(match[2]), match[3]
        return f"middle_block.{2 * number}.{_resnet(rest)}" if kind == "resnets" else f"middle_block.1.{rest}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", name)
    if match is None:
        raise BaseError("unet", f"tensor {name}", "the tensors of Stable Diffusion 1.x")
    side, level, kind, number, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    first = level * (layers + 1) + (1 if side == "down" else 0)
    prefix = f"{'input' if side == 'down' else 'output'}_blocks."
    if kind == "resnets":
        return f"{prefix}{first + number}.0.{_resnet(rest)}"
    if kind == "attentions":
        return f"{prefix}{first + number}.1.{rest}"
    if kind == "downsamplers":
        return f"{prefix}{first + layers}.0.{rest.replace('conv.', 'op.')}"
    return f"{prefix}{first + layers}.{2 if attends else 1}.{rest}"


def decoder_transformer(output_block: int, layers: int) -> str:
    """diffusers path of the transformer in an LDM output block."""
    return f"up_blocks.{output_block // (layers + 1)}.attentions.{output_block % (layers + 1)}"


def image_block_prefix(site: str, layers: int) -> str:
    """LDM prefix of the image attention block at a site (diffusers path): the inverse of `decoder_transformer`."""
    _, level, _, number = site.split(".")
    return f"output_blocks.{int(level) * (layers + 1) + int(number)}.1.{_IMAGE_BLOCK}"


def names_to_ldm(unet: Any) -> dict[str, str]:
    """diffusers name → LDM name of every tensor of a U-Net."""
    layers = int(unet.config["layers_per_block"])
    attends = [hasattr(block, "attentions") for block in unet.up_blocks]
    return {
        name: ldm_name(name, layers, name.startswith("up_blocks.") and attends[int(name.split(".")[1])])
        for name in unet.state_dict()
    }


def split_image_blocks(tensors: Mapping[str, T], layers: int) -> tuple[dict[str, T], dict[str, dict[str, T]]]:
    """LDM tensors (without their common prefix) → those of the plain U-Net, and per site path those of its block."""
    plain: dict[str, T] = {}
    blocks: dict[str, dict[str, T]] = {}
    for name, tensor in tensors.items():
        if _IMAGE_BLOCK not in name:
            plain[name] = tensor
            continue
        match = re.fullmatch(r"output_blocks\.(\d+)\.1\." + re.escape(_IMAGE_BLOCK) + "(.+)", name)
        if match is None:
            raise BaseError("checkpoint", f"tensor {name}", "image blocks in the decoder only")
        blocks.setdefault(decoder_transformer(int(match[1]), layers), {})[match[2]] = tensor
    return plain, blocks


def _resnet(rest: str) -> str:
    part, _, leaf = rest.partition(".")
    return f"{_RESNET[part]}.{leaf}"
