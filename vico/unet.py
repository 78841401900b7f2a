"""A stateless walk through a Stable-Diffusion-1.x U-Net that hands the tokens at every site to a hook.

The layers are diffusers' own; only the loop over the decoder is ours, so nothing is patched, nothing is remembered
between calls, and the walk traces with `torch.export`. Source of the loop: diffusers, `UNet2DConditionModel.forward`
and `CrossAttnUpBlock2D.forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vico.sites import Site

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


class SiteHook(Protocol):
    """What happens to the tokens at a site."""

    def __call__(self, site: Site, block: Any, hidden: Tensor, context: Tensor) -> Tensor:
        """Tokens before the site's own transformer block → tokens that leave the site.

        `hidden` [B, N, C]; `context` [B, 77, D]; `block` is the site's diffusers `BasicTransformerBlock`, which the
        hook itself calls (see `run_block`). Returns [B, N, C].
        """


@dataclass(frozen=True)
class _Encoded:
    """What the encoder and the middle of the U-Net hand to the decoder."""

    hidden: Tensor  # [B, C, h', w']
    time: Tensor  # [B, E] time embedding
    skips: tuple[Tensor, ...]  # residuals, last one first used


def predict_noise(
    unet: UNet2DConditionModel,
    latent: Tensor,
    timestep: Tensor,
    context: Tensor,
    sites: tuple[Site, ...] = (),
    hook: SiteHook | None = None,
) -> Tensor:
    """ε of the U-Net, with `hook` run at every site; without a hook it equals `unet(...)`.

    latent [B, 4, h, w], timestep [B] (every row its own), context [B, 77, D] → noise [B, 4, h, w].
    """
    hidden = _decode(unet, _encode(unet, latent, timestep, context), latent, context, sites, hook, stop=False)
    if unet.conv_norm_out is not None:
        hidden = unet.conv_act(unet.conv_norm_out(hidden))
    noise: Tensor = unet.conv_out(hidden)
    return noise


def walk_to_last_site(
    unet: UNet2DConditionModel,
    latent: Tensor,
    timestep: Tensor,
    context: Tensor,
    sites: tuple[Site, ...],
    hook: SiteHook,
) -> None:
    """Run the U-Net with `hook` at every site and stop after the last one; shapes as in `predict_noise`."""
    _decode(unet, _encode(unet, latent, timestep, context), latent, context, sites, hook, stop=True)


def run_block(block: Any, hidden: Tensor, context: Tensor) -> Tensor:
    """A site's own transformer block: hidden [B, N, C], context [B, 77, D] → [B, N, C]."""
    after: Tensor = block(hidden, encoder_hidden_states=context)
    return after


def maybe_checkpoint(active: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function`, recomputing it in the backward pass instead of storing it when `active`."""
    if active and torch.is_grad_enabled():
        return checkpoint(function, *arguments, use_reentrant=False)
    return function(*arguments)


def _encode(unet: UNet2DConditionModel, latent: Tensor, timestep: Tensor, context: Tensor) -> _Encoded:
    time = unet.time_embedding(unet.get_time_embed(sample=latent, timestep=timestep))
    hidden = unet.conv_in(latent)
    skips: tuple[Tensor, ...] = (hidden,)
    for block in unet.down_blocks:
        if getattr(block, "has_cross_attention", False):
            hidden, outputs = block(hidden, temb=time, encoder_hidden_states=context)
        else:
            hidden, outputs = block(hidden, temb=time)
        skips += tuple(outputs)
    if getattr(unet.mid_block, "has_cross_attention", False):
        hidden = unet.mid_block(hidden, time, encoder_hidden_states=context)
    elif unet.mid_block is not None:
        hidden = unet.mid_block(hidden, time)
    return _Encoded(hidden, time, skips)


def _decode(
    unet: UNet2DConditionModel,
    encoded: _Encoded,
    latent: Tensor,
    context: Tensor,
    sites: tuple[Site, ...],
    hook: SiteHook | None,
    *,
    stop: bool,
) -> Tensor:
    by_name = {site.name: site for site in sites} if hook is not None else {}
    remaining = len(by_name)
    hidden, skips = encoded.hidden, list(encoded.skips)
    sized = any(side % 2**unet.num_upsamplers for side in latent.shape[-2:])
    for b, block in enumerate(unet.up_blocks):
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        for a, (resnet, transformer) in enumerate(zip(block.resnets, attentions, strict=True)):
            hidden = torch.cat([hidden, skips.pop()], dim=1)
            hidden = maybe_checkpoint(block.gradient_checkpointing, resnet, hidden, encoded.time)
            site = by_name.get(f"up_blocks.{b}.attentions.{a}")
            if site is not None and hook is not None:
                hidden = _run_site(transformer, site, hook, hidden, context, last=stop and remaining == 1)
                remaining -= 1
                if stop and remaining == 0:
                    return hidden
            elif transformer is not None:
                hidden = transformer(hidden, encoder_hidden_states=context, return_dict=False)[0]
        for upsampler in block.upsamplers or ():
            hidden = upsampler(hidden, skips[-1].shape[2:] if sized else None)
    return hidden


def _run_site(transformer: Any, site: Site, hook: SiteHook, hidden: Tensor, context: Tensor, *, last: bool) -> Tensor:
    """diffusers' `Transformer2DModel.forward` for images, with the hook in place of the transformer block."""
    height, width = hidden.shape[-2:]
    linear = transformer.use_linear_projection
    tokens = transformer.norm(hidden)
    if not linear:
        tokens = transformer.proj_in(tokens)
    tokens = rearrange(tokens, "b c h w -> b (h w) c")
    if linear:
        tokens = transformer.proj_in(tokens)
    tokens = hook(site, transformer.transformer_blocks[0], tokens, context)
    if last:
        return hidden
    if linear:
        tokens = transformer.proj_out(tokens)
    # contiguous as in diffusers: its convolutions round differently on another memory layout
    tokens = rearrange(tokens, "b (h w) c -> b c h w", h=height, w=width).contiguous()
    if not linear:
        tokens = transformer.proj_out(tokens)
    leaving: Tensor = tokens + hidden
    return leaving
