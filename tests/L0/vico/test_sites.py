from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from vico.errors import BaseError
from vico.image_attention import ImageAttentionBlock
from vico.sites import find_sites, sites_at


def _sd15() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768, attention_head_dim=8
        )


def test_stable_diffusion_has_the_published_sites() -> None:
    sites = find_sites(_sd15())
    assert [(s.name, s.position, s.channels, s.heads, s.head_dim, s.stride) for s in sites] == [
        ("up_blocks.1.attentions.1", 1, 1280, 8, 160, 4),
        ("up_blocks.2.attentions.0", 3, 640, 8, 80, 2),
        ("up_blocks.2.attentions.2", 5, 640, 8, 80, 2),
        ("up_blocks.3.attentions.1", 7, 320, 8, 40, 1),
    ]
    assert [s.index for s in sites] == [0, 1, 2, 3]


def test_stable_diffusion_blocks_have_51_million_parameters() -> None:
    with torch.device("meta"):
        blocks = [ImageAttentionBlock(site.channels, site.heads) for site in find_sites(_sd15())]
    # the paper rounds it to 51.3 M
    assert sum(p.numel() for b in blocks for p in b.parameters()) == 51_248_960


def test_sites_at_follows_the_decoder_not_the_argument() -> None:
    sites = sites_at(_sd15(), ["up_blocks.3.attentions.0", "up_blocks.1.attentions.2"])
    assert [s.name for s in sites] == ["up_blocks.1.attentions.2", "up_blocks.3.attentions.0"]


def test_unknown_site_is_refused_by_name() -> None:
    with pytest.raises(BaseError, match=r"up_blocks\.9\.attentions\.0 not in the decoder"):
        sites_at(_sd15(), ["up_blocks.9.attentions.0"])


def test_decoder_without_transformers_is_refused() -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
        cross_attention_dim=8,
    )
    with pytest.raises(BaseError, match="leave no site"):
        find_sites(unet)


def test_deep_transformers_are_refused() -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=2,
        transformer_layers_per_block=2,
    )
    with pytest.raises(BaseError, match="2 transformer blocks; accepted: 1"):
        find_sites(unet)
