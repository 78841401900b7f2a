from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from vico.concept import BLOCK_TENSORS, block_tensor_shapes
from vico.image_attention import ImageAttentionBlock, image_attention, masked_attention

CHANNELS, HEADS = 24, 3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def make_block() -> ImageAttentionBlock:
    block = ImageAttentionBlock(CHANNELS, HEADS).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return block.requires_grad_(False)


def make_inputs(rows: int = 3, patches: int = 10, keys: int = 14) -> tuple[Tensor, Tensor, Tensor]:
    x, reference = (torch.randn(rows, n, CHANNELS, dtype=torch.float64) for n in (patches, keys))
    return x, reference, torch.rand(rows, keys) > 0.5


def as_published(block: ImageAttentionBlock, x: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Softmax over a full score matrix, dropped keys at the most negative number."""

    def attend(layer: Any, queries: Tensor, source: Tensor, kept: Tensor | None) -> Tensor:
        q, k, v = (
            to(tokens).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for to, tokens in ((layer.to_q, queries), (layer.to_k, source), (layer.to_v, source))
        )
        scores = q @ k.transpose(-1, -2) * (CHANNELS // HEADS) ** -0.5
        if kept is not None:
            scores = scores.masked_fill(~kept[:, None, None], -torch.finfo(scores.dtype).max)
        attended: Tensor = layer.to_out[0]((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return attended

    normed = block.norm1(x)
    x = attend(block.attn1, normed, normed, None) + x
    x = attend(block.attn2, block.norm2(x), reference, mask) + x
    network: Any = block.ff.net
    value, gate = network[0].proj(block.norm3(x)).chunk(2, dim=-1)
    after: Tensor = network[2](value * nn.functional.gelu(gate)) + x
    return after


def stacked(*blocks: ImageAttentionBlock) -> dict[str, Tensor]:
    return {name: torch.stack([b.state_dict()[name] for b in blocks]) for name in BLOCK_TENSORS}


def test_both_forms_equal_the_published_block() -> None:
    block, (x, reference, mask) = make_block(), make_inputs()
    expected = as_published(block, x, reference, mask)
    torch.testing.assert_close(block(x, reference, mask), expected, rtol=0, atol=1e-12)
    functional = image_attention(x, reference, mask, stacked(block, block, block), HEADS)
    torch.testing.assert_close(functional, expected, rtol=0, atol=1e-12)


def test_every_row_has_its_own_weights() -> None:
    blocks, (x, reference, mask) = [make_block() for _ in range(3)], make_inputs()
    mixed = image_attention(x, reference, mask, stacked(*blocks), HEADS)
    for row, block in enumerate(blocks):
        alone = block(x[row, None], reference[row, None], mask[row, None])
        torch.testing.assert_close(mixed[row, None], alone, rtol=0, atol=1e-12)


def test_empty_mask_attends_uniformly() -> None:
    block, (x, reference, _) = make_block(), make_inputs()
    empty = torch.zeros(reference.shape[:2], dtype=torch.bool)
    mean = reference.mean(dim=1, keepdim=True)
    torch.testing.assert_close(block(x, reference, empty), block(x, mean, empty[:, :1]), rtol=0, atol=1e-12)
    torch.testing.assert_close(block(x, reference, empty), as_published(block, x, reference, empty))


def test_dropped_tokens_may_be_pruned_or_padded() -> None:
    block, (x, reference, mask) = make_block(), make_inputs(rows=1)
    pruned = reference[:, mask[0]]
    padded = torch.cat([pruned, 50 * torch.randn(1, 5, CHANNELS, dtype=torch.float64)], dim=1)
    kept = torch.tensor([[1.0] * pruned.shape[1] + [0.0] * 5], dtype=torch.float64)
    full = block(x, reference, mask)
    torch.testing.assert_close(block(x, pruned, kept[:, : pruned.shape[1]]), full, rtol=0, atol=1e-12)
    torch.testing.assert_close(block(x, padded, kept), full, rtol=0, atol=1e-12)


def test_guidance_zero_is_exactly_the_input_and_one_the_block() -> None:
    block, (x, reference, mask) = make_block(), make_inputs()
    scaled = block(x, reference, mask, torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64))
    plain = block(x, reference, mask)
    assert torch.equal(scaled[0], x[0])
    torch.testing.assert_close(scaled[1], plain[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(scaled[2], (x[2] + plain[2]) / 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight", [math.inf, math.nan, 1e300])
def test_guidance_zero_is_the_input_whatever_the_weights_are(weight: float) -> None:
    block, (x, reference, mask) = make_block(), make_inputs()
    for parameter in block.parameters():
        parameter.data.fill_(weight)
    scaled = block(x, reference, mask, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    assert torch.equal(scaled[[0, 2]], x[[0, 2]])
    assert not torch.isfinite(scaled[1]).all()


def test_names_and_shapes_are_those_of_the_package_and_of_diffusers() -> None:
    ours = {name: tuple(t.shape) for name, t in ImageAttentionBlock(CHANNELS, HEADS).state_dict().items()}
    theirs = BasicTransformerBlock(CHANNELS, HEADS, CHANNELS // HEADS, cross_attention_dim=CHANNELS)
    assert ours == block_tensor_shapes(CHANNELS)
    assert ours == {name: tuple(t.shape) for name, t in theirs.state_dict().items()}


def test_equals_diffusers_block_where_nothing_is_masked() -> None:
    block, (x, reference, mask) = make_block(), make_inputs()
    theirs = BasicTransformerBlock(CHANNELS, HEADS, CHANNELS // HEADS, cross_attention_dim=CHANNELS).double()
    theirs.load_state_dict(block.state_dict())
    expected = theirs(x, encoder_hidden_states=reference)
    torch.testing.assert_close(block(x, reference, torch.ones_like(mask)), expected, rtol=0, atol=1e-12)


def test_zeroed_outputs_are_the_identity_and_learn() -> None:
    block, (x, reference, mask) = ImageAttentionBlock(CHANNELS, HEADS).double(), make_inputs()
    block.zero_outputs()
    after = block(x, reference, mask)
    assert torch.equal(after, x)
    torch.autograd.backward(after.sum())
    gradient = dict(block.named_parameters())["attn2.to_out.0.weight"].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [8, 40, 160])
def test_mask_is_exact_in_every_precision(dtype: torch.dtype, width: int) -> None:
    q, k = torch.randn(2, 2, 5, width, dtype=dtype), torch.randn(2, 2, 7, width, dtype=dtype)
    v = torch.randn(2, 2, 7, width, dtype=dtype)
    mask = torch.tensor([[1, 1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]])
    poisoned = v.clone()
    poisoned[0, :, mask[0] == 0] = 1000
    assert torch.equal(masked_attention(q, k, v, mask), masked_attention(q, k, poisoned, mask))
    uniform = masked_attention(q, k, v, mask)[1]
    torch.testing.assert_close(uniform, v[1].float().mean(1, keepdim=True).expand(2, 5, width).to(dtype))
