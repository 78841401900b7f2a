from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vico.base import Base
from vico.several.placing import Placing, shares, site_weights, text_maps
from vico.text import encode_prompts, tokenize_prompts


def _maps(seed: int, concepts: int, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.rand(2, concepts, height, width, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 99), st.integers(1, 4), st.sampled_from([0.0, 3.0, 50.0]), st.sampled_from([0.0, 0.05, 0.3]))
def test_every_token_is_shared_out_in_full(seed: int, concepts: int, sharpness: float, smoothing: float) -> None:
    weights = shares(_maps(seed, concepts, width=6), Placing(sharpness, smoothing, background=None))
    assert weights.shape == (2, concepts, 8, 6)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 8, 6))
    background = shares(_maps(seed, concepts, width=6), Placing(sharpness, smoothing, background=0.5))
    assert (background.sum(dim=1) < 1 + 1e-6).all()
    assert sharpness == 50 or (background.sum(dim=1) < 1).all()


def test_one_concept_has_it_all() -> None:
    assert torch.equal(shares(_maps(0, 1), Placing(background=None)), torch.ones(2, 1, 8, 8))


@given(st.integers(0, 99))
def test_shares_swap_with_the_maps_and_do_not_see_their_scale(seed: int) -> None:
    maps = _maps(seed, 2)
    torch.testing.assert_close(shares(maps.flip(1), Placing()), shares(maps, Placing()).flip(1))
    scaled = maps * torch.tensor([0.01, 7.0])[:, None, None] + 1
    torch.testing.assert_close(shares(scaled, Placing()), shares(maps, Placing()), rtol=1e-3, atol=1e-4)


def test_each_concept_has_the_side_where_its_word_is() -> None:
    maps = torch.zeros(1, 2, 8, 8)
    maps[:, 0, 2:6, :3], maps[:, 1, 2:6, 5:] = 1, 0.1
    weights = shares(maps, Placing(background=None))
    assert weights[0, 0, 2:6, :2].min() > 0.9
    assert weights[0, 1, 2:6, 6:].min() > 0.9
    # neither word is in the corner: shared alike, or nobody's where there is a background
    assert weights[0, 0, 0, 4] == pytest.approx(0.5, abs=0.2)
    empty = torch.zeros(1, 2, 8, 8)
    empty[:, :, 4, 4] = 1
    assert shares(empty, Placing(background=0.5))[0, :, 0, 0].sum() < 0.02


def test_a_map_without_contrast_leaves_numbers() -> None:
    assert torch.equal(shares(torch.full((1, 2, 4, 4), 0.3), Placing(background=None)), torch.full((1, 2, 4, 4), 0.5))


def test_weights_still_sum_to_one_at_every_site(tiny_base: Base) -> None:
    latent = torch.randn(2, 4, 16, 8, generator=torch.Generator().manual_seed(0))
    context = encode_prompts(tiny_base.text_encoder, tokenize_prompts(tiny_base, ["a dog on a cat"]).input_ids)
    maps = text_maps(tiny_base, latent, 500, context, [2, 5])
    assert maps.shape == (2, 2, 16, 8)
    torch.testing.assert_close(text_maps(tiny_base, latent, 500, context, [5, 2]), maps.flip(1))
    found = site_weights(shares(maps, Placing(background=None)), tiny_base.sites, latent)
    assert [w.shape for w in found] == [(2, 2, 16 * 8 // site.stride**2) for site in tiny_base.sites]
    for weights in found:
        torch.testing.assert_close(weights.sum(dim=0), torch.ones(weights.shape[1:]))
