"""The five graphs as modules: each takes tensors by position, in the order of its signature, and returns a tuple.

`export.signatures` names the inputs and outputs; the mathematics is that of `vico`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from export.signatures import Geometry
from vico.base import Base
from vico.concept.graphset import GraphName
from vico.concept.layout import BLOCK_TENSORS
from vico.streams import denoise, reference_features
from vico.text import encode_prompts

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    from vico.sites import Site


class TextEncoder(nn.Module):
    """Prompts with learned vectors in them → context."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """input_ids [B, 77], placeholder_position [B, V], token_embedding [B, V, D] → context [B, 77, D]."""
        input_ids, placeholder_position, token_embedding = inputs
        return (encode_prompts(self.text_encoder, input_ids, placeholder_position, token_embedding),)


class VaeEncoder(nn.Module):
    """A photo → its clean latent."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae: Any = vae

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """image [B, 3, H, W] in [−1, 1] → latent [B, 4, h, w], the mode × the scaling factor."""
        (image,) = inputs
        posterior = self.vae.encode(image, return_dict=False)[0]
        return (posterior.mode() * self.vae.config["scaling_factor"],)


class VaeDecoder(nn.Module):
    """A latent → its picture."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae: Any = vae

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """latent [B, 4, h, w] → image [B, 3, H, W] in [−1, 1]."""
        (latent,) = inputs
        image = self.vae.decode(latent / self.vae.config["scaling_factor"], return_dict=False)[0]
        return (image.clamp(-1, 1),)


class ReferenceEncoder(nn.Module):
    """The reference stream, up to the last site."""

    def __init__(self, unet: UNet2DConditionModel, sites: tuple[Site, ...]) -> None:
        super().__init__()
        self.unet: Any = unet
        self.sites = sites

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """latent [B, 4, h, w], timestep [B], context [B, 77, D], placeholder_position [B]
        → features [B, N_i, C_i] of every site, then masks [B, N_i] (1 kept, 0 dropped) of every site."""
        latent, timestep, context, position = inputs
        found = reference_features(self.unet, self.sites, latent, timestep, context, position)
        return (*(site.features for site in found), *(site.mask.to(latent.dtype) for site in found))


class Denoiser(nn.Module):
    """The picture's stream, attending to reference features through a bank of image attention blocks."""

    def __init__(self, unet: UNet2DConditionModel, sites: tuple[Site, ...]) -> None:
        super().__init__()
        self.unet: Any = unet
        self.sites = sites

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        """latent [B, 4, h, w], timestep [B], context [B, 77, D], slot [B], image_guidance [B];
        features [B, M_i, C_i] of every site, masks [B, M_i] of every site; the bank: tensors [S, …] of site 0, of
        site 1, … → noise [B, 4, h, w]."""
        latent, timestep, context, slot, image_guidance, *rest = inputs
        count = len(self.sites)
        features, masks, bank = rest[:count], rest[count : 2 * count], rest[2 * count :]
        blocks = [_gather(bank[i * len(BLOCK_TENSORS) :], slot) for i in range(count)]
        return (denoise(self.unet, self.sites, blocks, latent, timestep, context, features, masks, image_guidance),)


def build_module(base: Base, name: GraphName) -> nn.Module:
    """The module of one graph of `base`."""
    match name:
        case "text_encoder":
            return TextEncoder(base.text_encoder)
        case "vae_encoder":
            return VaeEncoder(base.vae)
        case "reference_encoder":
            return ReferenceEncoder(base.unet, base.sites)
        case "denoiser":
            return Denoiser(base.unet, base.sites)
        case "vae_decoder":
            return VaeDecoder(base.vae)


def geometry_of(base: Base) -> Geometry:
    """The sizes of `base` that its graphs' signatures depend on."""
    unet: Any = base.unet
    return Geometry(
        sites=base.site_specs,
        prompt_tokens=base.tokenizer_spec.max_length,
        context_width=base.context_width,
        vocabulary=int(base.text_encoder.config.vocab_size),
        vae_factor=base.vae_factor,
        unet_multiple=base.size_multiple // base.vae_factor,
        latent_channels=int(unet.config["in_channels"]),
        num_timesteps=base.schedule.num_train_timesteps,
    )


def _gather(bank: list[Tensor], slot: Tensor) -> dict[str, Tensor]:
    """The block of every row: the first twenty tensors [S, …] of `bank` at slot [B] → [B, …]."""
    return {name: tensor.index_select(0, slot) for name, tensor in zip(BLOCK_TENSORS, bank, strict=False)}
