"""What each option of a recipe changes, on the tiny base."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.photos import noise_pictures
from training.batches import BatchMaker
from training.concept_model import ConceptModel
from training.draws import Draws
from training.errors import TrainingError
from training.losses import (
    Objective,
    area_weights,
    kept_error,
    min_snr_weight,
    noise_error,
    objective_at,
    regularise,
    surroundings,
)
from training.masks import soft_masks
from training.recipe import Recipe
from training.setup import set_up
from training.trainer import Trainer, rate_factor, token_rate_factor
from vico.base import Base
from vico.streams import reference_features, split_stream
from vico.text import encode_prompts

RECIPE = Recipe(name="test", steps=8, batch_size=4, token_lr=5e-3, block_lr=1e-3)


def make(base: Base, photos: int = 3, **fields: Any) -> Trainer:
    return set_up(base, replace(RECIPE, **fields), noise_pictures(photos), "toy")[0]


def losses(trainer: Trainer, objective: Objective | None = None, step: int = 0) -> Any:
    return trainer.model(trainer._batches.batch(step), 5e-4, objective or objective_at(trainer._recipe, step))


def gradient(trainer: Trainer, parameter: Tensor, step: int = 0) -> Tensor | None:
    trainer.model.zero_grad()
    losses(trainer, step=step).total.backward()
    return parameter.grad


def test_the_default_step_is_the_published_forward(tiny_base: Base) -> None:
    trainer = make(tiny_base)
    model, batch = trainer.model, trainer._batches.batch(0)
    noisy = (
        model.signal[batch.timestep][:, None, None, None] * batch.latent
        + model.spread[batch.timestep][:, None, None, None] * batch.noise
    )
    prompts = batch.prompts
    token = model.token_embedding.expand(4, 1, -1)
    context = encode_prompts(tiny_base.text_encoder, prompts.input_ids, prompts.placeholder_position, token)
    output = split_stream(
        tiny_base.unet, tiny_base.sites, model.image_blocks, noisy, batch.reference_latent[:, 0], batch.timestep,
        context, prompts.attention_position, prompts.end_of_text_position,
    )  # fmt: skip
    found = model(batch, 0.25)
    assert torch.equal(found.noise, torch.nn.functional.mse_loss(output.noise, batch.noise))
    assert torch.equal(found.regulariser, output.regulariser)
    assert torch.equal(found.total, found.noise + 0.25 * found.regulariser)


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    seen: list[tuple[Any, ...]] = []

    def spy(*given: Any) -> Any:
        seen.append(given)
        return reference_features(*given)

    monkeypatch.setattr("training.concept_model.reference_features", spy)
    return seen


def test_with_a_fixed_context_every_reference_stream_reads_the_same(
    tiny_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, seen = make(tiny_base, reference_context="concept"), spied(monkeypatch)
    for step in range(2):
        losses(trainer, step=step)
    for _, _, _, _, context, position, end in seen:
        assert context.shape == (4, 77, 32)
        assert torch.equal(context, seen[0][4][:1].expand_as(context))
        assert (position.tolist(), end.tolist()) == ([5] * 4, [6] * 4)
    assert gradient(trainer, trainer.model.token_embedding) is not None


def test_several_references_attend_to_other_photos_only(tiny_base: Base) -> None:
    batches = BatchMaker(
        tiny_base,
        torch.arange(5.0).reshape(-1, 1, 1, 1).expand(5, 4, 8, 8),
        "*",
        vectors=1,
        batch_size=64,
        seed=0,
        draws=Draws(train_references=3),
    )
    batch = batches.batch(0)
    target, others = batch.latent[:, 0, 0, 0], batch.reference_latent[:, :, 0, 0, 0]
    assert others.shape == (64, 3)
    for row, seen in zip(target.tolist(), others.tolist(), strict=True):
        assert len({row, *seen}) == 4
    assert set(others.flatten().tolist()) == set(range(5))
    few = replace(batches, latents=batches.latents[:2], draws=Draws(train_references=7)).batch(0)
    assert few.reference_latent.shape[1] == 1


def test_a_reference_seen_twice_is_seen_once(tiny_base: Base) -> None:
    """Pruned tokens of two equal photos: attention as over one."""
    trainer = make(tiny_base)
    batch = trainer._batches.batch(0)
    twice = replace(batch, reference_latent=batch.reference_latent.repeat(1, 2, 1, 1, 1))
    once, both = trainer.model(batch, 5e-4), trainer.model(twice, 5e-4)
    torch.testing.assert_close(both.total, once.total)


@pytest.mark.parametrize(("photos", "augmentations"), [(1, 0), (1, 2), (3, 0), (3, 2)])
def test_one_photo_and_three_can_be_trained_on(tiny_base: Base, photos: int, augmentations: int) -> None:
    trainer = make(tiny_base, photos, augmentations=augmentations, train_references=2, zero_init=True)
    for step in range(2):
        assert trainer.step(step).noise > 0
    batch = trainer._batches.batch(0)
    if photos == 1:
        same = [torch.equal(a, b) for a, b in zip(batch.latent, batch.reference_latent[:, 0], strict=True)]
        assert same == [not augmentations] * 4, "a further view of itself where there is one"


def test_min_snr_weights_are_those_of_the_paper() -> None:
    power = torch.tensor([0.5, 0.9, 0.01], dtype=torch.float64)
    snr = power / (1 - power)
    expected = torch.minimum(snr, torch.full_like(snr, 5.0)) / snr
    torch.testing.assert_close(min_snr_weight(power, 5.0), expected)


def test_weighted_error_by_hand() -> None:
    predicted, noise = torch.tensor([[[[1.0, 3.0]]], [[[0.0, 0.0]]]]), torch.zeros(2, 1, 1, 2)
    area, weight = torch.tensor([[[[2.0, 0.0]]], [[[1.0, 1.0]]]]), torch.tensor([0.5, 1.0])
    weighted, plain = noise_error(predicted, noise, area, weight)
    assert (weighted.item(), plain.item()) == (2 * 1 * 0.5 / 4, 10 / 4)
    assert noise_error(predicted, noise, None, None)[0].item() == 2.5


def test_areas_have_mean_one_and_weigh_outside_as_told() -> None:
    masks = torch.zeros(2, 4, 4)
    masks[0, :2] = 1
    weights = area_weights(masks, 0.2)
    torch.testing.assert_close(weights.mean(dim=(1, 2)), torch.ones(2))
    torch.testing.assert_close(weights[0, 3, 0] / weights[0, 0, 0], torch.tensor(0.2))
    assert torch.equal(area_weights(masks, 0.0)[1], torch.ones(4, 4)), "a mask that is nowhere says nothing"


def test_masked_loss_is_from_the_target_and_off_by_default(tiny_base: Base) -> None:
    assert make(tiny_base)._batches.areas is None
    trainer = make(tiny_base, masked_loss=0.0, augmentations=1)
    areas, views = trainer._batches.areas, trainer._batches.views
    assert areas is not None
    assert views is not None
    assert areas.shape == (3, 2, 16, 16)
    masks = soft_masks(tiny_base, trainer.model.initial_token, views[1])
    assert ((masks >= 0) & (masks <= 1)).all()
    torch.testing.assert_close(areas[1], masks / masks.mean(dim=(1, 2), keepdim=True))
    found = losses(trainer)
    assert not torch.equal(found.total - 5e-4 * found.regulariser, found.noise)


def test_surroundings_keep_a_cell_away_from_the_thing() -> None:
    masks = torch.zeros(1, 2, 5, 5)
    masks[0, 0, 2, 2] = 1
    masks[0, 1, 0, 0] = 0.25
    outside = surroundings(masks)
    assert outside.shape == masks.shape
    assert outside[0, 0, 1:4, 1:4].max() == 0
    assert outside[0, 0].sum() == 25 - 9
    assert outside[0, 1, 1, 1] == 0.75
    assert outside[0, 1, 2, 2] == 1


def test_kept_error_counts_what_is_outside_only() -> None:
    predicted, plain = torch.zeros(2, 4, 2, 2), torch.ones(2, 4, 2, 2)
    outside = torch.zeros(2, 1, 2, 2)
    assert kept_error(predicted, plain, outside, None) == 0
    outside[0, 0, 0, 0] = 1
    assert kept_error(predicted, plain, outside, None).item() == pytest.approx(1 / 8)
    assert kept_error(predicted, plain, outside, torch.tensor([0.5, 9.0])).item() == pytest.approx(1 / 16)


def test_preservation_is_off_by_default_and_nothing_before_anything_is_learned(tiny_base: Base) -> None:
    assert make(tiny_base)._batches.outsides is None
    trainer = make(tiny_base, preservation=2.0, zero_init=True)
    found, without = losses(trainer), losses(trainer, Objective())
    torch.testing.assert_close(found.total, without.total, atol=1e-6, rtol=0)
    with torch.no_grad():
        trainer.model.token_embedding.add_(
            torch.randn(1, tiny_base.context_width, generator=torch.Generator().manual_seed(1))
        )
    found, without = losses(trainer), losses(trainer, Objective())
    assert found.total > without.total + 1e-4
    assert torch.equal(found.noise, without.noise)


def test_preservation_draws_the_surroundings_back_to_the_base(tiny_base: Base) -> None:
    """Trained on nothing but that, blocks begun at random end nearer to the identity out there."""
    trainer = make(tiny_base, preservation=1e3, masked_loss=0.0, regulariser="none", token_steps=1, block_lr=5e-3)
    batch = trainer._batches.batch(0)
    assert batch.outside is not None

    def distance() -> float:
        with torch.no_grad():
            only, both = (
                trainer.model(batch, 0.0, Objective(regulariser="none", preservation=weight)).total for weight in (0, 1)
            )
        return float(both - only)

    before = distance()
    for step in range(8):
        trainer.step(step)
    assert distance() < 0.7 * before


def test_scene_captions_come_in_their_share_and_leave_everything_else_alone(tiny_base: Base) -> None:
    scenes = ("a photo of a {} in the water", "a {} on a red carpet")
    plain = make(tiny_base, batch_size=64)._batches.batch(3)
    batch = make(tiny_base, batch_size=64, scene_captions=0.5, scene_templates=scenes)._batches.batch(3)
    changed = (plain.prompts.input_ids != batch.prompts.input_ids).any(dim=1)
    assert 16 < int(changed.sum()) < 48
    assert len({tuple(row) for row in batch.prompts.input_ids[changed].tolist()}) == 2
    for name in ("latent", "reference_latent", "noise", "timestep"):
        assert torch.equal(getattr(plain, name), getattr(batch, name))
    assert (batch.prompts.placeholder_position >= 0).all()
    every = make(tiny_base, batch_size=16, scene_captions=1.0, scene_templates=scenes)._batches.batch(3)
    assert len({tuple(row) for row in every.prompts.input_ids.tolist()}) == 2


def test_regulariser_variants(tiny_base: Base) -> None:
    trainer = make(tiny_base)
    published, mean, none = (losses(trainer, Objective(regulariser=kind)) for kind in ("published", "mean", "none"))
    torch.testing.assert_close(mean.regulariser * len(tiny_base.sites), published.regulariser)
    assert none.regulariser == 0
    assert torch.equal(none.total, none.noise)
    assert torch.equal(none.noise, published.noise)
    assert regularise.__doc__


def test_dropped_captions_are_empty_and_keep_the_mask_where_guidance_has_it(tiny_base: Base) -> None:
    whole = make(tiny_base, batch_size=32)._batches.batch(0)
    batch = make(tiny_base, batch_size=32, caption_drop=0.5)._batches.batch(0)
    dropped = batch.prompts.placeholder_position[:, 0] < 0
    assert 5 < int(dropped.sum()) < 27
    assert (batch.prompts.end_of_text_position[dropped] == 1).all()
    assert torch.equal(batch.prompts.attention_position, whole.prompts.attention_position)
    assert torch.equal(batch.prompts.input_ids[~dropped], whole.prompts.input_ids[~dropped])
    assert torch.equal(batch.noise, whole.noise), "an option takes no number from the others"


def test_rows_without_image_attention_train_the_token_only(tiny_base: Base) -> None:
    trainer = make(tiny_base, image_dropout=0.5, regulariser="none", detach=True)
    guidance = trainer._batches.batch(0).image_guidance
    assert guidance is not None
    assert set(guidance.tolist()) == {0.0, 1.0}
    batch = replace(trainer._batches.batch(0), image_guidance=torch.zeros(4))
    trainer.model(batch, 0.0).total.backward()
    assert all(not p.grad.abs().sum() for p in trainer.model.blocks.parameters() if p.grad is not None)
    assert trainer.model.token_embedding.grad is not None
    assert trainer.model.token_embedding.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["uniform", "stratified", "high_noise"])
def test_timesteps(kind: Any) -> None:
    draws, random = Draws(timestep=kind), np.random.default_rng(0)
    many = np.concatenate([draws.timesteps(random, 1000, 8) for _ in range(500)])
    assert 0 <= many.min() < 20
    assert 980 < many.max() < 1000
    # ∫ t (1 − cos(πt)/2) dt = 1/2 + 1/π²
    expected = 0.5 + 1 / np.pi**2 if kind == "high_noise" else 0.5
    assert abs(many.mean() / 1000 - expected) < 0.02
    if kind == "stratified":
        assert sorted(draws.timesteps(random, 1000, 8) // 125) == list(range(8))


def test_a_held_token_keeps_its_norm_and_stays_near(tiny_base: Base) -> None:
    normed, pulled, free = (
        make(tiny_base, token_lr=0.05, **f) for f in ({"token_norm": True}, {"token_decay": 20.0}, {})
    )
    for step in range(6):
        for trainer in (normed, pulled, free):
            trainer.step(step)
    model = normed.model
    torch.testing.assert_close(model.token_embedding.norm(dim=1), model.initial_token.norm(dim=1))
    assert not torch.equal(model.token_embedding, model.initial_token)
    near, far = ((t.model.token_embedding - t.model.initial_token).abs().max().item() for t in (pulled, free))
    assert near <= 1 / 20 + 0.05 < far + 0.05
    assert near < far


def test_a_frozen_token_stays_and_needs_no_graph_before_the_first_site(tiny_base: Base) -> None:
    trainer = make(tiny_base, token_steps=2)
    seen = [trainer.model.token_embedding.detach().clone() for step in range(4) if trainer.step(step)]
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[3])
    assert gradient(trainer, trainer.model.token_embedding, step=1) is not None
    assert gradient(trainer, trainer.model.token_embedding, step=2) is None
    assert all(p.grad is not None for p in trainer.model.blocks.parameters())
    assert not losses(trainer, step=2).regulariser.requires_grad


def test_detached_references_train_the_token_by_the_caption_and_the_regulariser_only(tiny_base: Base) -> None:
    trainer = make(tiny_base)
    grads = {}
    for detach in (False, True):
        trainer.model.zero_grad()
        losses(trainer, Objective(detach=detach)).total.backward()
        assert trainer.model.token_embedding.grad is not None
        grads[detach] = trainer.model.token_embedding.grad.clone()
    assert not torch.equal(grads[False], grads[True])
    assert losses(trainer, Objective(detach=True)).regulariser.requires_grad
    assert torch.equal(losses(trainer, Objective(detach=True)).total, losses(trainer).total)


def test_sites_left_out_stay_the_identity(tiny_base: Base) -> None:
    trainer = make(tiny_base, sites=(1,))
    before = {n: p.clone() for n, p in trainer.model.blocks[0].named_parameters()}
    trainer.step(0)
    assert all(torch.equal(p, before[n]) for n, p in trainer.model.blocks[0].named_parameters())
    assert before["attn2.to_out.0.weight"].abs().sum() == 0
    assert trainer.model.blocks[1].attn2.to_out[0].weight.grad is None  # type: ignore[union-attr, index]
    with pytest.raises(TrainingError, match="sites: 7 not among them; accepted: 0 to 1"):
        ConceptModel(tiny_base, "toy", 1, zero_init=True, seed=0, sites=(7,))


def test_the_tokens_rate_has_its_own_schedule() -> None:
    recipe = replace(RECIPE, token_lr_schedule="cosine", token_steps=4, warmup_steps=2)
    assert [rate_factor(recipe, step) for step in (0, 1, 7)] == [0.5, 1, 1]
    assert token_rate_factor(recipe, 0) == 0.5
    assert token_rate_factor(recipe, 2) == pytest.approx(0.5)
    assert token_rate_factor(recipe, 4) == pytest.approx(0)
    cosine = replace(RECIPE, lr_schedule="cosine")
    assert token_rate_factor(cosine, 3) == rate_factor(cosine, 3)


def test_the_average_is_what_is_left_at_the_end(tiny_base: Base) -> None:
    trainer, alone = make(tiny_base, ema=0.9), make(tiny_base)
    trace = []
    for step in range(4):
        trainer.step(step)
        alone.step(step)
        trace.append(alone.model.token_embedding.detach().clone())
    assert trainer.average is not None
    trained = trainer.model.token_embedding.detach().clone()
    assert torch.equal(trained, trace[-1]), "training itself does not see it"
    expected = trace[0]
    for n, token in enumerate(trace[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * token
    with trainer.average.applied():
        torch.testing.assert_close(trainer.model.token_embedding.detach(), expected)
    assert torch.equal(trainer.model.token_embedding, trained)
    trainer.finish()
    torch.testing.assert_close(trainer.model.token_embedding.detach(), expected)


def test_concept_carries_what_it_was_trained_with(tiny_base: Base) -> None:
    concept = make(tiny_base).model.concept("*", torch.zeros(1, 4, 16, 16), "concept")
    assert concept.reference_context == "concept"
