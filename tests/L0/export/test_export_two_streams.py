"""The split graphs, one after the other, are the published two-stream model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from export.inputs import Feed, random_feed
from tests.helpers.tiny_graphs import ExportedBase, run_graph
from vico.base import Base
from vico.concept.layout import BLOCK_TENSORS
from vico.sampling import advance, guide, make_plan
from vico.sampling.plan import SamplerState
from vico.streams import two_stream

STEPS, SCALE, ROWS = 4, 3.0, 2
SLOT, SLOTS = 1, 3


def test_a_guided_sampling_run_equals_two_streams(base: Base, exported: ExportedBase) -> None:
    signature = exported.signature("denoiser")
    feed = random_feed(signature, exported.geometry, {"batch": ROWS, "height": 4, "width": 3, "slots": SLOTS}, seed=5)
    feed |= {"slot": torch.full((ROWS,), SLOT), "image_guidance": torch.ones(ROWS)}
    reference = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(6)).expand(ROWS, -1, -1, -1)
    # negative and positive prompt: both use the positive one's position
    position = torch.tensor([4, 4])
    encoder, denoiser = exported.session("reference_encoder"), exported.session("denoiser")

    def ours(latent: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        step = {"timestep": timestep, "context": feed["context"]}
        found = run_graph(encoder, {"latent": reference, **step, "placeholder_position": position})
        names = [value.name for value in exported.signature("reference_encoder").outputs]
        features = {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}
        return torch.from_numpy(run_graph(denoiser, feed | {"latent": latent, **step} | features)[0])

    def published(latent: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        blocks = [_weights(feed, site.index) for site in base.sites]
        return two_stream(base.unet, base.sites, blocks, latent, reference, timestep, feed["context"], position).noise

    with torch.no_grad():
        difference = _sample(base, ours, feed["latent"][:1]) - _sample(base, published, feed["latent"][:1])
    assert np.abs(difference.numpy()).max() < 1e-4


def _weights(feed: Feed, site: int) -> dict[str, torch.Tensor]:
    return {tensor: feed[f"image_attention.{site}.{tensor}"][SLOT] for tensor in BLOCK_TENSORS}


def _sample(base: Base, predict: Any, latent: torch.Tensor) -> torch.Tensor:
    plan = make_plan("ddim", STEPS, base.schedule)
    state = SamplerState(latent)
    for step in plan.steps:
        negative, positive = predict(state.latent.expand(ROWS, -1, -1, -1), torch.full((ROWS,), step.timestep))
        state = advance(plan, state, guide(negative, positive, SCALE)[None])
    return state.latent
