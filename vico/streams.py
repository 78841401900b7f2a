"""The two streams of ViCo: a reference stream on a clean latent, and the picture's stream that attends to it.

Source: ViCo (arXiv 2306.00971, section 3). The reference stream never reads the picture, so it can be run ahead
(`reference_features`) and its result handed to `denoise`; `two_stream` runs both in one batch, as published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from vico.attention import block_with_columns
from vico.image_attention import ImageAttentionBlock, image_attention
from vico.mask import reference_mask
from vico.regulariser import attention_regulariser
from vico.sites import Site
from vico.unet import maybe_checkpoint, predict_noise, run_block, walk_to_last_site

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

BlockWeights: TypeAlias = ImageAttentionBlock | Mapping[str, Tensor]


@dataclass(frozen=True)
class ReferenceFeatures:
    """What the reference stream leaves at one site."""

    features: Tensor  # [B, N, C] tokens after the site's own transformer block
    mask: Tensor  # [B, N] bool, True = the patch shows the concept
    placeholder_attention: Tensor  # [B, N] text attention to the placeholder
    end_of_text_attention: Tensor  # [B, N] likewise to the end of text, where asked for (else the placeholder's)


@dataclass(frozen=True)
class TwoStreamOutput:
    """Result of a forward through both streams."""

    noise: Tensor  # [B, 4, h, w] ε
    references: tuple[ReferenceFeatures, ...]  # one per site

    @property
    def regulariser(self) -> Tensor:
        """Scalar, not yet weighted: see `vico.regulariser`."""
        return attention_regulariser(
            [reference.placeholder_attention for reference in self.references],
            [reference.end_of_text_attention for reference in self.references],
        )


def reference_features(
    unet: UNet2DConditionModel,
    sites: tuple[Site, ...],
    latent: Tensor,
    timestep: Tensor,
    context: Tensor,
    placeholder_position: Tensor,
    end_of_text_position: Tensor | None = None,
) -> tuple[ReferenceFeatures, ...]:
    """Run the reference stream up to its last site.

    latent [B, 4, h, w] clean and scaled, timestep [B], context [B, 77, D], placeholder_position [B] (the end-of-text
    position when the prompt has no placeholder), end_of_text_position [B] only where the regulariser is wanted.
    Gradients flow through the features and the attention into the context, not through the mask.
    """
    positions = _positions(placeholder_position, end_of_text_position)
    collected: list[ReferenceFeatures] = []

    def collect(site: Site, block: Any, hidden: Tensor, context: Tensor) -> Tensor:
        after: Tensor
        after, columns = maybe_checkpoint(_checkpoints(unet), block_with_columns, block, hidden, context, positions)
        collected.append(_references(after, columns))
        return after

    walk_to_last_site(unet, latent, timestep, context, sites, collect)
    return tuple(collected)


def denoise(
    unet: UNet2DConditionModel,
    sites: tuple[Site, ...],
    blocks: Sequence[BlockWeights],
    latent: Tensor,
    timestep: Tensor,
    context: Tensor,
    features: Sequence[Tensor],
    masks: Sequence[Tensor],
    image_guidance: Tensor | None = None,
) -> Tensor:
    """ε of the picture's stream, attending to given reference features.

    latent [B, 4, h, w], timestep [B], context [B, 77, D]; per site: blocks (a module, or the tensors of
    `image_attention` with or without a leading batch dimension), features [B, M_i, C_i], masks [B, M_i];
    image_guidance [B] scales the image attention, 0 = plain Stable Diffusion. → [B, 4, h, w].
    """

    def attend(site: Site, block: Any, hidden: Tensor, context: Tensor) -> Tensor:
        after = maybe_checkpoint(_checkpoints(unet), run_block, block, hidden, context)
        i = site.index
        return _apply(_checkpoints(unet), blocks[i], site, after, features[i], masks[i], image_guidance)

    return predict_noise(unet, latent, timestep, context, sites, attend)


def two_stream(
    unet: UNet2DConditionModel,
    sites: tuple[Site, ...],
    blocks: Sequence[BlockWeights],
    latent: Tensor,
    reference_latent: Tensor,
    timestep: Tensor,
    context: Tensor,
    placeholder_position: Tensor,
    end_of_text_position: Tensor | None = None,
) -> TwoStreamOutput:
    """Both streams as one batch of 2B through the whole U-Net, as published; shapes as in the two split functions.

    Equal to `reference_features` followed by `denoise`, and dearer: it carries the reference past its last site.
    """
    positions = _positions(placeholder_position, end_of_text_position)
    collected: list[ReferenceFeatures] = []
    rows = latent.shape[0]

    def both(site: Site, block: Any, hidden: Tensor, context: Tensor) -> Tensor:
        after, columns = block_with_columns(block, hidden, context, positions.repeat(2, 1))
        # slices, not chunks: a chunk's size is a guard that torch.export cannot prove for every batch
        picture, reference = after[:rows], after[rows:]
        collected.append(_references(reference, columns[rows:]))
        picture = _apply(False, blocks[site.index], site, picture, reference, collected[-1].mask, None)
        return torch.cat([picture, reference])

    noise = predict_noise(
        unet,
        torch.cat([latent, reference_latent]),
        timestep.repeat(2),
        context.repeat(2, 1, 1),
        sites,
        both,
    )
    return TwoStreamOutput(noise[:rows], tuple(collected))


def split_stream(
    unet: UNet2DConditionModel,
    sites: tuple[Site, ...],
    blocks: Sequence[BlockWeights],
    latent: Tensor,
    reference_latent: Tensor,
    timestep: Tensor,
    context: Tensor,
    placeholder_position: Tensor,
    end_of_text_position: Tensor | None = None,
) -> TwoStreamOutput:
    """The same as `two_stream`, by way of `reference_features` and `denoise`: what training runs."""
    references = reference_features(
        unet, sites, reference_latent, timestep, context, placeholder_position, end_of_text_position
    )
    noise = denoise(
        unet,
        sites,
        blocks,
        latent,
        timestep,
        context,
        [reference.features for reference in references],
        [reference.mask for reference in references],
    )
    return TwoStreamOutput(noise, references)


def _apply(
    recompute: bool,
    weights: BlockWeights,
    site: Site,
    x: Tensor,
    features: Tensor,
    mask: Tensor,
    image_guidance: Tensor | None,
) -> Tensor:
    if isinstance(weights, ImageAttentionBlock):
        attended: Tensor = maybe_checkpoint(recompute, weights, x, features, mask, image_guidance)
        return attended
    return image_attention(x, features, mask, weights, site.heads, image_guidance)


def _references(after: Tensor, columns: Tensor) -> ReferenceFeatures:
    return ReferenceFeatures(after, reference_mask(columns[:, 0]), columns[:, 0], columns[:, -1])


def _positions(placeholder: Tensor, end_of_text: Tensor | None) -> Tensor:
    """[B, 1] or [B, 2]: the token positions whose attention columns are wanted."""
    wanted = [placeholder] if end_of_text is None else [placeholder, end_of_text]
    return torch.stack(wanted, dim=1)


def _checkpoints(unet: UNet2DConditionModel) -> bool:
    """Whether gradient checkpointing was switched on with `unet.enable_gradient_checkpointing()`."""
    return bool(unet.up_blocks[0].gradient_checkpointing)
