"""Sites: the places in the decoder of a U-Net that carry an image attention block.

Source: ViCo (arXiv 2306.00971, section 3.2) puts a block after every second decoder transformer. Of the nine
decoder transformers of Stable Diffusion 1.x, counted from 0, the sites are 1, 3, 5 and 7.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vico.errors import BaseError

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


@dataclass(frozen=True)
class Site:
    """One place for an image attention block."""

    index: int  # among the sites, in decoder order
    name: str  # diffusers path of its transformer, e.g. "up_blocks.1.attentions.1"
    position: int  # among all decoder transformers, in decoder order
    channels: int  # inner width of the transformer = heads * head_dim
    heads: int
    head_dim: int
    stride: int  # latent pixels per patch along one axis: N = (h / stride) * (w / stride)


def find_sites(unet: UNet2DConditionModel) -> tuple[Site, ...]:
    """Sites of a Stable-Diffusion-1.x U-Net: its odd-numbered decoder transformers, in decoder order.

    Raises `BaseError` when the decoder has fewer than two transformers, or transformers with more than one block.
    """
    names = [name for name, _, _ in _decoder_transformers(unet)]
    return sites_at(unet, names[1::2])


def sites_at(unet: UNet2DConditionModel, names: Collection[str]) -> tuple[Site, ...]:
    """Sites at the decoder transformers called `names` (diffusers paths), in decoder order.

    Raises `BaseError` when a name is unknown, none is given, or a transformer has more than one block.
    """
    found = {
        name: (position, stride, transformer)
        for position, (name, stride, transformer) in enumerate(_decoder_transformers(unet))
    }
    unknown = sorted(set(names) - set(found))
    if unknown:
        raise BaseError("sites", f"{', '.join(unknown)} not in the decoder", ", ".join(found) or "none")
    chosen = [name for name in found if name in names]
    if not chosen:
        raise BaseError("unet", f"{len(found)} decoder transformers leave no site for image attention", "at least two")
    return tuple(_site(index, name, *found[name]) for index, name in enumerate(chosen))


def _decoder_transformers(unet: UNet2DConditionModel) -> Iterator[tuple[str, int, Any]]:
    """(diffusers path, stride, module) of every decoder transformer, in the order in which they run."""
    stride = 2 ** (len(unet.up_blocks) - 1)
    for b, block in enumerate(unet.up_blocks):
        for a, transformer in enumerate(getattr(block, "attentions", ())):
            yield f"up_blocks.{b}.attentions.{a}", stride, transformer
        if block.upsamplers is not None:
            stride //= 2


def _site(index: int, name: str, position: int, stride: int, transformer: Any) -> Site:
    blocks = transformer.transformer_blocks
    if len(blocks) != 1:
        raise BaseError("unet", f"{name} has {len(blocks)} transformer blocks", "1, as in Stable Diffusion 1.x")
    attention = blocks[0].attn1
    return Site(
        index=index,
        name=name,
        position=position,
        channels=int(attention.inner_dim),
        heads=int(attention.heads),
        head_dim=int(attention.inner_dim) // int(attention.heads),
        stride=stride,
    )
