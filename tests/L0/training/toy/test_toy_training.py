"""The trainings' parts: schedules, averages, Muon, batches, latents, scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.toy.judge import Judge, judge_logits, load_judge, save_judge, soften
from training.toy.latents import SCALING_FACTOR, LatentSet, encode, normalise
from training.toy.loop import MovingAverage, Schedule, load_checkpoint, save_checkpoint
from training.toy.muon import muon_for, orthogonalise
from training.toy.score import Accuracy, Score, append_score, evaluation_plans, grid_choice, top_k
from training.toy.vae import build_vae, psnr, reconstruct, to_pictures, to_tensor


@given(st.integers(0, 5000))
def test_rate_never_leaves_its_bounds(step: int) -> None:
    schedule = Schedule(peak=1.0, warmup=100, total=2000, floor=0.1)
    assert 0 < schedule.rate(step) <= 1.0
    if step >= 2000:
        assert schedule.rate(step) == pytest.approx(0.1)


def test_average_lies_between_old_and_new() -> None:
    layer = torch.nn.Linear(2, 2)
    average = MovingAverage(layer, decay=0.9)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1)
    average.update(layer, step=1000)
    torch.testing.assert_close(average.values["weight"], before + 0.1)


def test_checkpoints_are_whole_or_absent(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "state.pt") is None
    save_checkpoint(tmp_path / "state.pt", {"step": 3})
    assert load_checkpoint(tmp_path / "state.pt") == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@given(st.integers(1, 20), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_orthogonalise_matches_the_plain_iteration(rows: int, columns: int) -> None:
    matrices = torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(rows * 100 + columns))
    plain = matrices / matrices.norm(dim=(1, 2), keepdim=True)
    if rows > columns:
        plain = plain.mT
    for _ in range(5):
        square = plain @ plain.mT
        plain = 3.4445 * plain + (-4.7750 * square + 2.0315 * square @ square) @ plain
    if rows > columns:
        plain = plain.mT
    torch.testing.assert_close(orthogonalise(matrices), plain, atol=1e-4, rtol=1e-3)


def test_muon_learns_a_linear_map() -> None:
    torch.manual_seed(0)
    target, layer = torch.randn(8, 8), torch.nn.Linear(8, 8)
    optimizer = muon_for(layer, rate=0.2, decay=0.0)
    inputs = torch.randn(64, 8)
    losses = []
    for _ in range(60):
        loss = (layer(inputs) - inputs @ target.T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_pictures_and_tensors_round_trip() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, size=(2, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_pictures(to_tensor(pictures)), pictures)


def test_psnr() -> None:
    black = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    assert psnr(black, np.full_like(black, 255)) == pytest.approx(0.0)
    assert psnr(black, np.full_like(black, 26)) == pytest.approx(19.83, abs=0.01)


def test_normalised_latents_have_the_familiar_scale_and_decode_the_same() -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    pictures = np.random.default_rng(0).integers(0, 256, size=(4, 64, 64, 3), dtype=np.uint8)
    before = reconstruct(vae, pictures)
    normalise(vae, pictures)
    latent = encode(vae, pictures) * SCALING_FACTOR
    torch.testing.assert_close(latent.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latent.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    assert np.abs(reconstruct(vae, pictures).astype(int) - before).max() <= 1


def test_an_epoch_shows_every_picture_once_and_a_step_is_always_the_same() -> None:
    latents = np.arange(12, dtype=np.float16).reshape(12, 1, 1, 1)
    data = LatentSet(latents, tuple(str(number) for number in range(12)))
    seen = [caption for step in range(3) for caption in data.batch(0, step, 4)[1]]
    assert sorted(seen, key=int) == [str(number) for number in range(12)]
    assert data.batch(0, 7, 4)[1] == data.batch(0, 7, 4)[1]
    assert data.batch(0, 0, 4)[1] != data.batch(0, 3, 4)[1]


def test_judge_shapes_and_augmentation(tmp_path: Path) -> None:
    pictures = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    judge = Judge().eval()
    things, scenes = judge_logits(judge, pictures)
    save_judge(judge, tmp_path / "judge.safetensors")
    np.testing.assert_allclose(judge_logits(load_judge(tmp_path / "judge.safetensors"), pictures)[0], things, atol=1e-2)
    assert things.shape[1] >= 84
    assert scenes.shape == (2, 14)
    for number in range(20):
        softened = soften(to_tensor(pictures), np.random.default_rng(number))
        assert softened.shape == (2, 3, 64, 64)
        assert softened.abs().max() <= 1


@given(st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=50)
def test_top_k_grows_with_k(k: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(6, 8)).astype(np.float32)
    truth = [int(value) for value in draw.integers(0, 8, size=6)]
    assert top_k(logits, truth, k) <= top_k(logits, truth, k + 1)
    assert top_k(logits, truth, 8) == 1.0
    assert top_k(logits, [int(value) for value in logits.argmax(axis=1)], 1) == 1.0


def test_evaluation_asks_for_every_held_out_pair_and_the_grid_is_chosen_blindly() -> None:
    plans = evaluation_plans()
    assert len({(plan.things, plan.scene) for plan in plans}) == len(plans)
    chosen = grid_choice(len(plans))
    assert len(set(chosen)) == 64
    assert max(chosen) == len(plans) - 1


def test_score_history_is_sorted_and_replaces_equal_entries(tmp_path: Path) -> None:
    part = Accuracy(1, 0.5, 0.5, 0.5)
    for seen in (300, 100, 300):
        append_score(tmp_path, Score(seen, 1.0, part, part, part, 25.0, 24.0, 4.5, 25, 0))
    history = json.loads((tmp_path / "score-history.json").read_text())
    assert [entry["pictures_seen"] for entry in history] == [100, 300]
    assert json.loads((tmp_path / "score.json").read_text())["generated"]["scene_top1"] == 0.5
