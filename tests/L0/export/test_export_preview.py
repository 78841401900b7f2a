"""The map from latents to colours, and what previews made with it are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch.nn import functional

from export.modules import VaeDecoder
from export.preview import fit, latent_to_rgb, made_up_picture
from serving.streaming.preview import PreviewMap
from vico.base import Base, load_base
from vico.concept.preview import SD1_LATENT_TO_RGB
from vico.pipeline import encode_pictures
from vico.sampling import SamplerState, advance, guide, initial_noise, make_plan
from vico.text import encode_prompts
from vico.unet import predict_noise

ROOT = Path(__file__).parents[3]
PROMPTS = ["a photo of a red ball on grass", "a photo of a cat on snow", "a photo of a yellow cup on a table"]


@pytest.fixture(scope="module")
def toy() -> Base:
    return load_base(ROOT / "assets" / "toy-base")


def test_an_exact_map_is_found() -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 4, 6, 5)
    rows = torch.randn(5, 3)
    colours = torch.einsum("nchw,ck->nkhw", latents, rows[:-1]) + rows[-1][:, None, None]
    np.testing.assert_allclose(np.asarray(fit(latents, colours)), rows.numpy(), atol=1e-4)


def test_the_same_base_gives_the_same_map(base: Base) -> None:
    first = latent_to_rgb(base)
    assert np.asarray(first).shape == (5, 3)
    assert latent_to_rgb(base) == first


def test_made_up_pictures_differ_and_stay_in_range() -> None:
    pictures = [made_up_picture(index, 32) for index in range(3)]
    assert all(picture.shape == (3, 32, 32) and picture.abs().max() <= 1 for picture in pictures)
    assert not torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[2], made_up_picture(2, 32))


def correlation(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> float:
    return float(np.corrcoef(one.astype(float).ravel(), other.astype(float).ravel())[0, 1])


def pixels_of(images: torch.Tensor, factor: int) -> npt.NDArray[np.float32]:
    """[n, 3, H, W] → [n, h, w, 3]"""
    small: npt.NDArray[np.float32] = functional.avg_pool2d(images, factor).movedim(1, -1).numpy()
    return small


@torch.no_grad()
def test_previews_of_real_photos_resemble_them(toy: Base) -> None:
    """Photos that the map was not made from, through the toy base's VAE: hardly worse than the best map for them."""
    side = toy.default_size
    files = [ROOT / "assets" / "photos" / name / "heldout" / "0.jpg" for name in ("teapot", "biplane", "backpack")]
    latents = encode_pictures(toy, [Image.open(file).convert("RGB").resize((side, side)) for file in files])
    (decoded,) = VaeDecoder(toy.vae)(latents)
    best = fit(latents, functional.avg_pool2d(decoded, toy.vae_factor))
    maps = [PreviewMap(rows) for rows in (latent_to_rgb(toy), best, SD1_LATENT_TO_RGB)]
    for latent, wanted in zip(latents.numpy(), pixels_of(decoded, toy.vae_factor), strict=True):
        own, most, foreign = (correlation(previews.thumbnail(latent), wanted) for previews in maps)
        print(f"correlation {own:.3f}, of the best map {most:.3f}, of that of SD 1.x {foreign:.3f}")
        assert own > max(0.7, most - 0.1, foreign)


@torch.no_grad()
def expected_latents(base: Base, prompts: list[str], steps: int) -> list[npt.NDArray[np.float32]]:
    """The clean latents [n, 4, h, w] that the sampler expects after each step; the last is the result."""
    ids = base.tokenizer(
        [*[""] * len(prompts), *prompts], padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    none = torch.full((len(ids), 1), -1)
    context = encode_prompts(base.text_encoder, ids, none, torch.zeros(len(ids), 1, base.context_width))
    plan = make_plan("dpmpp_2m", steps, base.schedule)
    side = base.default_size // base.vae_factor
    state = SamplerState(
        torch.from_numpy(np.stack([initial_noise(k, 0, (4, side, side)) for k in range(len(prompts))]))
    )
    expected = []
    for step in plan.steps:
        timestep = torch.full((len(ids),), step.timestep)
        noise = predict_noise(base.unet, state.latent.repeat(2, 1, 1, 1), timestep, context)
        state = advance(plan, state, guide(noise[: len(prompts)], noise[len(prompts) :], 7.5))
        assert state.previous_data is not None
        expected.append(state.previous_data.numpy())
    return expected


@torch.no_grad()
def test_previews_come_closer_to_the_picture_over_the_steps(toy: Base) -> None:
    expected = expected_latents(toy, PROMPTS, steps=12)
    (final,) = VaeDecoder(toy.vae)(torch.from_numpy(expected[-1]))
    wanted = pixels_of(final, toy.vae_factor)
    previews = PreviewMap(latent_to_rgb(toy))
    for picture in range(len(PROMPTS)):
        seen = [correlation(previews.thumbnail(latents[picture]), wanted[picture]) for latents in expected]
        print([round(value, 2) for value in seen])
        quarters = [float(np.mean(part)) for part in np.array_split(seen, 4)]
        assert quarters[0] < quarters[1] < quarters[3]
        assert seen[-1] > 0.7
        assert seen[len(seen) // 2] > 0.8 * seen[-1], "half way one can tell what it will be"
