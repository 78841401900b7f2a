"""Contenders in diffusers: what a user of the published code runs today, in the layout that is best on a CPU."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.denoiser.feeds import step_feeds
from benchmarks.denoiser.graphs import PlainUnet, TwoStream, plain_signature, two_stream_signature
from benchmarks.denoiser.prepared import Prepared, read_prepared
from benchmarks.denoiser.settings import Settings
from benchmarks.denoiser.worker import Action
from export.signatures import Signature
from vico.sites import find_sites


def load_unet(prepared: Prepared) -> Any:
    """The base's U-Net in float32, in evaluation mode."""
    from diffusers import UNet2DConditionModel

    from vico.base_files import weights_variant

    variant = weights_variant(prepared.base, "unet")
    unet = UNet2DConditionModel.from_pretrained(
        prepared.base / "unet", torch_dtype=torch.float32, variant=variant, local_files_only=True
    )
    return unet.eval().requires_grad_(False)


class _Eager:
    """A module that is stepped with guidance."""

    def __init__(self, settings: Settings, prepared: Prepared, module: nn.Module, signature: Signature) -> None:
        torch.set_num_threads(settings.threads)
        self._settings, self._prepared, self._signature = settings, prepared, signature
        self._module = cast("Any", module).to(memory_format=torch.channels_last)

    def _step(self, rows: int) -> Action:
        feeds = step_feeds(self._signature, self._prepared, rows, self._settings.latent)
        inputs = tuple(_laid_out(torch.from_numpy(array)) for array in feeds.values())
        return lambda: self._infer(inputs)

    def _infer(self, inputs: tuple[Tensor, ...]) -> object:
        with torch.inference_mode():
            return self._module(*inputs)


class PlainEager(_Eager):
    """Plain Stable Diffusion."""

    def __init__(self, settings: Settings) -> None:
        prepared = read_prepared(settings)
        super().__init__(settings, prepared, PlainUnet(load_unet(prepared)), plain_signature(prepared.geometry))
        self._step(1)()

    def prepare(self, work: str) -> Action:
        """One step of one picture with guidance."""
        return self._step(2)


class PlainCompiled(PlainEager):
    """The same through `torch.compile`; compiled for its shape before the clock starts."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._module = torch.compile(self._module)
        self._step(2)()


class TwoStreamEager(_Eager):
    """Two-stream ViCo."""

    def __init__(self, settings: Settings) -> None:
        prepared = read_prepared(settings)
        unet = load_unet(prepared)
        module = TwoStream(unet, find_sites(unet)).requires_grad_(False)
        super().__init__(settings, prepared, module, two_stream_signature(prepared.geometry))
        self._step(1)()

    def prepare(self, work: str) -> Action:
        """`step_n1` or `step_n4`: one step of so many pictures with guidance."""
        return self._step(2 * int(work.removeprefix("step_n")))


def _laid_out(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
