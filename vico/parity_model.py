"""Reading a parity folder (see `vico.parity`): its network, its cases, and running one through the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vico.errors import BaseError
from vico.image_attention import ImageAttentionBlock
from vico.ldm import names_to_ldm, split_image_blocks, unet_config
from vico.sites import Site, sites_at
from vico.streams import TwoStreamOutput

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

CONFIG, WEIGHTS, CASES = "cfg.json", "unet_ldm_fp16.safetensors", "cases.safetensors"
_ACCEPTED = f"a folder with {CONFIG}, {WEIGHTS} and {CASES}"


@dataclass(frozen=True)
class ParityModel:
    """A U-Net with its image attention, in one precision."""

    unet: UNet2DConditionModel
    sites: tuple[Site, ...]
    blocks: tuple[ImageAttentionBlock, ...]
    dtype: torch.dtype


def load_model(folder: Path, dtype: torch.dtype) -> ParityModel:
    """The folder's network. Raises `BaseError` when a file or a tensor is missing, unknown, or of a wrong shape."""
    from diffusers import UNet2DConditionModel

    cfg = json.loads(_file(folder, CONFIG).read_text())
    plain, blocks = split_image_blocks(_tensors(folder, WEIGHTS, "unet."), cfg["num_res_blocks"])
    unet = UNet2DConditionModel(**unet_config(cfg))
    _load_renamed(unet, plain)
    sites = sites_at(unet, blocks)
    # not `unet.to`: diffusers' own would warn about a precision that is asked for on purpose
    torch.nn.Module.to(unet, dtype)
    return ParityModel(
        unet=unet.eval().requires_grad_(False),
        sites=sites,
        blocks=tuple(_image_block(site, blocks[site.name]).to(dtype).requires_grad_(False) for site in sites),
        dtype=dtype,
    )


def load_cases(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Tensors of every case, by case and then by name."""
    cases: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _tensors(folder, CASES, "").items():
        case, _, part = name.rpartition(".")
        cases.setdefault(case, {})[part] = tensor
    return dict(sorted(cases.items()))


def run_case(form: Any, model: ParityModel, tensors: Mapping[str, Tensor]) -> TwoStreamOutput:
    """One case through `two_stream` or `split_stream`."""
    x, xr, c = (tensors[name].to(model.dtype) for name in ("x", "xr", "c"))
    with torch.no_grad():
        output: TwoStreamOutput = form(
            model.unet, model.sites, model.blocks, x, xr, tensors["t"], c, tensors["ph"], tensors["eot"]
        )
    return output


def _load_renamed(unet: UNet2DConditionModel, plain: Mapping[str, Tensor]) -> None:
    names = names_to_ldm(unet)
    if odd := sorted(set(names.values()) ^ set(plain)):
        side = "is missing" if odd[0] in names.values() else "is not part of this U-Net"
        raise BaseError(WEIGHTS, f"tensor {odd[0]} {side}", f"the tensors that {CONFIG} describes")
    try:
        unet.load_state_dict({ours: plain[theirs] for ours, theirs in names.items()})
    except RuntimeError as error:
        raise BaseError(WEIGHTS, str(error).splitlines()[-1].strip(), f"the shapes that {CONFIG} describes") from None


def _image_block(site: Site, tensors: Mapping[str, Tensor]) -> ImageAttentionBlock:
    block = ImageAttentionBlock(site.channels, site.heads)
    try:
        block.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise BaseError(WEIGHTS, f"image attention at {site.name}: {error}", "twenty tensors a block") from None
    return block


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise BaseError("parity folder", f"{folder / name} is missing", _ACCEPTED)
    return folder / name


def _tensors(folder: Path, name: str, prefix: str) -> dict[str, Tensor]:
    try:
        return {key.removeprefix(prefix): tensor for key, tensor in load_file(_file(folder, name)).items()}
    except SafetensorError as error:
        raise BaseError("parity folder", f"{name} cannot be read ({error})", _ACCEPTED) from None
