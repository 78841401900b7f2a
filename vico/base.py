"""A base: a Stable-Diffusion-1.x model in diffusers' folder layout, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vico.base_files import ACCEPTED, WEIGHTS, base_digest, read_schedule, require_tokenizer, weights_variant
from vico.concept import TokenizerSpec
from vico.concept.manifest import SiteSpec
from vico.errors import BaseError
from vico.sampling import NoiseSchedule
from vico.sites import Site, find_sites

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer


@dataclass(frozen=True, eq=False)
class Base:
    """A loaded base. Its networks are in evaluation mode and need no gradients."""

    path: Path
    name: str
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    schedule: NoiseSchedule
    sites: tuple[Site, ...]
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def digest(self) -> str:
        """Identity of the base: see `base_digest`."""
        return base_digest(self.path)

    @property
    def context_width(self) -> int:
        """Width D of the text encoder's output and of a token embedding."""
        return int(self.text_encoder.config.hidden_size)

    @property
    def scaling_factor(self) -> float:
        """Latents handed between rooms are the VAE's times this."""
        return float(self.vae.config["scaling_factor"])

    @property
    def vae_factor(self) -> int:
        """Pixels per latent cell along one side."""
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this many pixels: the VAE's factor times the U-Net's."""
        return self.vae_factor * int(2 ** (len(self.unet.config["block_out_channels"]) - 1))

    @property
    def default_size(self) -> int:
        """Height and width, in pixels, that the base was trained at."""
        return int(self.unet.config["sample_size"]) * self.vae_factor

    @cached_property
    def tokenizer_spec(self) -> TokenizerSpec:
        """The numbers of the tokenizer; the placeholder's place is held by the smallest ordinary id."""
        special = set(self.tokenizer.all_special_ids)
        return TokenizerSpec(
            bos_id=int(self.tokenizer.bos_token_id),
            eos_id=int(self.tokenizer.eos_token_id),
            pad_id=int(self.tokenizer.pad_token_id),
            placeholder_id=next(i for i in range(len(self.tokenizer)) if i not in special),
            max_length=int(self.text_encoder.config.max_position_embeddings),
        )

    @cached_property
    def site_specs(self) -> tuple[SiteSpec, ...]:
        """The sites as a concept package names them."""
        return tuple(SiteSpec(name=site.name, channels=site.channels, heads=site.heads) for site in self.sites)

    def encode_text(self, text: str) -> list[int]:
        """Text to token ids without begin and end, not truncated: the `encode` of `vico.concept.tokenize_prompt`."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


def load_base(path: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Base:
    """Load a base from a diffusers folder, whatever precision its weights are stored in.

    Raises:
        BaseError: names the component that is absent, pickled, damaged, or not of Stable Diffusion 1.x.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    path = Path(path)
    variants = {component: weights_variant(path, component) for component in WEIGHTS}
    require_tokenizer(path)
    schedule = read_schedule(path)
    quiet_libraries()
    try:
        tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)
        text_encoder = CLIPTextModel.from_pretrained(
            path / "text_encoder",
            dtype=dtype,
            variant=variants["text_encoder"],
            use_safetensors=True,
            local_files_only=True,
            attn_implementation="sdpa",
        )
        vae, unet = (
            kind.from_pretrained(
                path / folder, torch_dtype=dtype, variant=variants[folder], use_safetensors=True, local_files_only=True
            )
            for kind, folder in ((AutoencoderKL, "vae"), (UNet2DConditionModel, "unet"))
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BaseError("base", f"{path.name} cannot be loaded ({reason})", ACCEPTED) from error
    except Exception as error:
        # safetensors raises its own error type for a torn file
        if type(error).__module__.startswith("safetensors"):
            raise BaseError("base", f"{path.name} holds a damaged weights file ({error})", ACCEPTED) from error
        raise
    _check_architecture(unet, vae, text_encoder)
    for network in (text_encoder, vae, unet):
        network.to(device).requires_grad_(False).eval()
    return Base(
        path=path,
        name=path.resolve().name,
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=vae,
        unet=unet,
        schedule=schedule,
        sites=find_sites(unet),
        device=torch.device(device),
        dtype=dtype,
    )


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars out of ours."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _check_architecture(unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel) -> None:
    """Refuse what differs from Stable Diffusion 1.x in a way that the method does not cover."""
    if unet.config["in_channels"] != 4 or vae.config["latent_channels"] != 4:
        raise BaseError("base", f"the U-Net reads {unet.config['in_channels']} channels", "4: a text-to-image model")
    if unet.config["addition_embed_type"] is not None or unet.config["class_embed_type"] is not None:
        raise BaseError("base", "the U-Net wants more than latent, timestep and text", ACCEPTED)
    if unet.config["cross_attention_dim"] != text_encoder.config.hidden_size:
        raise BaseError(
            "base",
            f"the U-Net reads text of width {unet.config['cross_attention_dim']},"
            f" the text encoder gives {text_encoder.config.hidden_size}",
            "equal widths",
        )
