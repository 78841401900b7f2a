from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from vico.image_attention import ImageAttentionBlock
from vico.regulariser import attention_regulariser
from vico.sites import Site, find_sites
from vico.streams import denoise, reference_features, split_stream, two_stream
from vico.unet import predict_noise, run_block

WIDTH = 16


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
    )
    return torch.nn.Module.to(network, torch.float64).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def sites(unet: UNet2DConditionModel) -> tuple[Site, ...]:
    return find_sites(unet)


@pytest.fixture(scope="module")
def blocks(sites: tuple[Site, ...]) -> list[ImageAttentionBlock]:
    torch.manual_seed(1)
    return [ImageAttentionBlock(site.channels, site.heads).double() for site in sites]


def make_inputs(rows: int = 2, height: int = 8, width: int = 8) -> dict[str, Tensor]:
    torch.manual_seed(2)
    return {
        "latent": torch.randn(rows, 4, height, width, dtype=torch.float64),
        "reference_latent": torch.randn(rows, 4, 8, 8, dtype=torch.float64),
        "timestep": torch.tensor([5, 900, 300][:rows]),
        "context": torch.randn(rows, 77, WIDTH, dtype=torch.float64),
        "placeholder_position": torch.tensor([4, 2, 7][:rows]),
        "end_of_text_position": torch.tensor([9, 5, 8][:rows]),
    }


@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 4), (7, 9)])
def test_walk_without_hook_is_the_library_forward(unet: UNet2DConditionModel, height: int, width: int) -> None:
    given = make_inputs(height=height, width=width)
    expected = unet(given["latent"], given["timestep"], given["context"]).sample
    assert torch.equal(predict_noise(unet, given["latent"], given["timestep"], given["context"]), expected)


def test_hook_that_only_runs_the_block_changes_nothing(unet: UNet2DConditionModel, sites: tuple[Site, ...]) -> None:
    given = make_inputs()
    seen: list[str] = []

    def hook(site: Site, block: Any, hidden: Tensor, context: Tensor) -> Tensor:
        seen.append(site.name)
        assert hidden.shape == (2, (8 // site.stride) ** 2, site.channels)
        return run_block(block, hidden, context)

    noise = predict_noise(unet, given["latent"], given["timestep"], given["context"], sites, hook)
    expected = unet(given["latent"], given["timestep"], given["context"]).sample
    torch.testing.assert_close(noise, expected, rtol=0, atol=1e-12)
    assert seen == [site.name for site in sites]


def test_linear_projections_are_walked_too() -> None:
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        norm_num_groups=4,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        use_linear_projection=True,
    ).eval()
    latent, timestep, context = torch.randn(1, 4, 8, 8), torch.tensor([3]), torch.randn(1, 77, WIDTH)
    noise = predict_noise(
        network, latent, timestep, context, find_sites(network), lambda s, b, h, c: run_block(b, h, c)
    )
    torch.testing.assert_close(noise, network(latent, timestep, context).sample)


def test_split_streams_equal_the_joint_ones(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], blocks: list[ImageAttentionBlock]
) -> None:
    given = make_inputs()
    joint, split = (form(unet, sites, blocks, **given) for form in (two_stream, split_stream))
    torch.testing.assert_close(joint.noise, split.noise, rtol=0, atol=1e-12)
    torch.testing.assert_close(joint.regulariser, split.regulariser, rtol=0, atol=1e-14)
    for a, b in zip(joint.references, split.references, strict=True):
        assert torch.equal(a.mask, b.mask)
        torch.testing.assert_close(a.features, b.features, rtol=0, atol=1e-12)


def test_text_attention_columns_are_probabilities(unet: UNet2DConditionModel, sites: tuple[Site, ...]) -> None:
    given = make_inputs(rows=1)
    total = torch.zeros(1, 64 // sites[0].stride ** 2, dtype=torch.float64)
    for position in range(77):
        first = reference_features(
            unet, sites, given["reference_latent"], given["timestep"], given["context"], torch.tensor([position])
        )[0]
        total += first.placeholder_attention
    torch.testing.assert_close(total, torch.ones_like(total))


def test_image_attention_off_is_plain_stable_diffusion(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], blocks: list[ImageAttentionBlock]
) -> None:
    given = make_inputs()
    references = reference_features(
        unet, sites, given["reference_latent"], given["timestep"], given["context"], given["placeholder_position"]
    )
    common = (given["latent"], given["timestep"], given["context"])
    features, masks = [r.features for r in references], [r.mask for r in references]
    off = denoise(unet, sites, blocks, *common, features, masks, torch.tensor([0.0, 1.0], dtype=torch.float64))
    on = denoise(unet, sites, blocks, *common, features, masks)
    plain = unet(*common).sample
    torch.testing.assert_close(off[0], plain[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(off[1], on[1], rtol=0, atol=1e-12)
    assert (on - plain).abs().max() > 1e-3


def test_gradients_reach_the_context_through_the_reference(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], blocks: list[ImageAttentionBlock]
) -> None:
    given = make_inputs()
    picture, reference = given["context"].clone(), given["context"].clone().requires_grad_()
    references = reference_features(
        unet, sites, given["reference_latent"], given["timestep"], reference, given["placeholder_position"]
    )
    features, masks = [r.features for r in references], [r.mask for r in references]
    noise = denoise(unet, sites, blocks, given["latent"], given["timestep"], picture, features, masks)
    torch.autograd.backward(noise.sum())
    assert reference.grad is not None
    assert reference.grad.abs().sum() > 0


def test_gradient_checkpointing_changes_no_gradient(
    unet: UNet2DConditionModel, sites: tuple[Site, ...], blocks: list[ImageAttentionBlock]
) -> None:
    gradients = []
    for switch in (unet.disable_gradient_checkpointing, unet.enable_gradient_checkpointing):
        switch()
        given = make_inputs()
        given["context"].requires_grad_()
        output = split_stream(unet, sites, blocks, **given)
        parameters = [given["context"], *(p for b in blocks for p in b.parameters())]
        gradients.append(torch.autograd.grad(output.noise.square().mean() + output.regulariser, parameters))
    unet.disable_gradient_checkpointing()
    for stored, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(stored, recomputed, rtol=0, atol=1e-12)


def test_regulariser_is_the_sum_over_sites_and_end_of_text_has_no_gradient() -> None:
    placeholder = [torch.rand(2, 9, requires_grad=True), torch.rand(2, 4, requires_grad=True)]
    end = [torch.rand(2, 9, requires_grad=True), torch.rand(2, 4, requires_grad=True)]
    loss = attention_regulariser(placeholder, end)
    expected = sum(
        ((a / a.max(1, keepdim=True)[0] - b / b.max(1, keepdim=True)[0]) ** 2).mean()
        for a, b in zip(placeholder, end, strict=True)
    )
    torch.testing.assert_close(loss, expected)
    torch.autograd.backward(loss)
    assert all(a.grad is not None for a in placeholder)
    assert all(b.grad is None for b in end)
