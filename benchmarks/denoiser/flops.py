"""Floating-point operations of a step, counted once without computing: torch's counter on tensors without data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.denoiser.graphs import PlainUnet, TwoStream, plain_signature, two_stream_signature
from benchmarks.denoiser.prepared import Prepared
from benchmarks.denoiser.settings import Settings
from export.modules import Denoiser, ReferenceEncoder
from export.signatures import Signature, Value, signatures
from vico.sites import find_sites


def count_flops(settings: Settings, prepared: Prepared) -> dict[str, float]:
    """Per row of each graph, a multiplication and an addition being two; and of the matrix product."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(prepared.base / "unet")).eval()
        sites = find_sites(unet)
        served = signatures(prepared.geometry)
        graphs: dict[str, tuple[nn.Module, Signature]] = {
            "plain_per_row": (PlainUnet(unet), plain_signature(prepared.geometry)),
            "two_stream_per_row": (TwoStream(unet, sites), two_stream_signature(prepared.geometry)),
            "denoiser_per_row": (Denoiser(unet, sites), served["denoiser"]),
            "references_per_row": (ReferenceEncoder(unet, sites), served["reference_encoder"]),
        }
        counted = {
            name: float(_count(module, _empty(signature, settings, prepared)))
            for name, (module, signature) in graphs.items()
        }
    return counted | {"gemm": 2.0 * settings.gemm_side**3}


def _count(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    # one row: the counter sees shapes only
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return int(counter.get_total_flops())


def _empty(signature: Signature, settings: Settings, prepared: Prepared) -> tuple[Tensor, ...]:
    side = settings.latent // prepared.geometry.unet_multiple
    kept = {f"reference_tokens_{i}": count for i, count in enumerate(prepared.kept(settings.latent))}
    sizes = {"batch": 1, "slots": 1, "height": side, "width": side, **kept}
    return tuple(_tensor(value, sizes) for value in signature.inputs)


def _tensor(value: Value, sizes: dict[str, int]) -> Tensor:
    shape: list[Any] = [axis if isinstance(axis, int) else axis.multiple * sizes[axis.name] for axis in value.shape]
    return torch.empty(shape, dtype=torch.int64 if value.is_integer else torch.float32, device="meta")
