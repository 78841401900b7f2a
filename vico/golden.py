"""Make a small parity folder with our own code, so that a change of results never goes unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vico.image_attention import ImageAttentionBlock
from vico.ldm import image_block_prefix, names_to_ldm, unet_config
from vico.parity_model import CASES, CONFIG, WEIGHTS, load_model, run_case
from vico.sites import find_sites
from vico.streams import two_stream
from vico.unet import predict_noise

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

GOLDEN_CFG: dict[str, Any] = {
    "image_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "attention_resolutions": [1, 2],
    "num_res_blocks": 1,
    "channel_mult": [1, 1],
    "num_heads": 2,
    "use_spatial_transformer": True,
    "transformer_depth": 1,
    "context_dim": 16,
    "use_checkpoint": False,
    "legacy": False,
}
_TEXT_LENGTH = 77


def write_golden_folder(folder: Path, cfg: dict[str, Any] | None = None, seed: int = 0) -> None:
    """Write `cfg.json`, random weights (float16) and cases a (one row), b (three, not square), d (off), r (training).

    Outputs are computed in float64 by `vico.streams`.
    """
    from diffusers import UNet2DConditionModel

    cfg = cfg or GOLDEN_CFG
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(cfg) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(**unet_config(cfg))
        save_file(_weights(unet), folder / WEIGHTS)
        inputs = {
            "a": _inputs(cfg, rows=1, sides=(1, 1)),
            "b": _inputs(cfg, rows=3, sides=(2, 1)),
            "d": _inputs(cfg, rows=1, sides=(1, 1)),
            "r": _inputs(cfg, rows=2, sides=(1, 1)),
        }
    cases = {case: _solve(folder, case, tensors) for case, tensors in inputs.items()}
    save_file({f"{case}.{name}": t for case, tensors in cases.items() for name, t in tensors.items()}, folder / CASES)


def _weights(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Random weights under LDM names, the norms moved off their neutral values too."""
    layers = int(unet.config["layers_per_block"])
    names = names_to_ldm(unet)
    _jitter(unet)
    tensors = {f"unet.{names[name]}": tensor for name, tensor in unet.state_dict().items()}
    for site in find_sites(unet):
        block = ImageAttentionBlock(site.channels, site.heads)
        _jitter(block)
        prefix = f"unet.{image_block_prefix(site.name, layers)}"
        tensors |= {prefix + name: tensor for name, tensor in block.state_dict().items()}
    return {name: tensor.half().contiguous() for name, tensor in tensors.items()}


def _jitter(network: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)


def _inputs(cfg: dict[str, Any], rows: int, sides: tuple[int, int]) -> dict[str, Tensor]:
    height, width = (cfg["image_size"] * side for side in sides)
    end = torch.randint(5, 20, (rows,))
    return {
        "x": torch.randn(rows, 4, height, width),
        "xr": torch.randn(rows, 4, height, width),
        "c": torch.randn(rows, _TEXT_LENGTH, cfg["context_dim"]),
        "t": torch.randint(0, 1000, (rows,)),
        "ph": torch.minimum(torch.randint(1, 10, (rows,)), end - 1),
        "eot": end,
    }


def _solve(folder: Path, case: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    model = load_model(folder, torch.float64)
    if case == "d":
        with torch.no_grad():
            eps = predict_noise(model.unet, tensors["x"].double(), tensors["t"], tensors["c"].double())
        return {**tensors, "eps": eps}
    output = run_case(two_stream, model, tensors)
    solved = {**tensors, "eps": output.noise.contiguous()}
    if case == "r":
        return {**solved, "loss_reg": output.regulariser.reshape(1)}
    return {**solved, **{f"mask{i}": r.mask.to(torch.uint8) for i, r in enumerate(output.references)}}
