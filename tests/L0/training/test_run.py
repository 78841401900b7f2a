from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from rich.console import Console

from tests.helpers.photos import make_photos
from training.checkpoints import latest_checkpoint
from training.errors import CheckpointError, TrainingError
from training.job import TrainingJob
from training.recipe import Recipe
from training.run import run_training
from vico.base import Base
from vico.concept import ConceptPackage, read_package
from vico.errors import ConceptError, VicoError
from vico.loaded_concept import load_concept
from vico.pipeline import PictureRequest, generate

RECIPE = Recipe(
    name="test",
    steps=4,
    batch_size=2,
    token_lr=5e-3,
    block_lr=1e-3,
    zero_init=True,
    checkpoint_every=2,
    validation_every=3,
    validation_prompts=("a photo of a {}", "a {} in the snow"),
    validation_steps=2,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


def make_job(base: Path, photos: Path, out: Path, **changes: object) -> TrainingJob:
    job = TrainingJob(base, photos, "toy", out, RECIPE, concept_id=out.stem, device="cpu")
    return replace(job, **changes)  # type: ignore[arg-type]


def run(job: TrainingJob) -> ConceptPackage:
    digest = run_training(job, Console(file=io.StringIO()))
    package = read_package(job.out)
    assert package.digest == digest
    return package


def same_tensors(a: ConceptPackage, b: ConceptPackage) -> bool:
    return all(np.array_equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


@pytest.fixture(scope="module")
def trained(tiny_base_folder: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = make_job(tiny_base_folder, photos, tmp_path_factory.mktemp("out") / "disc.safetensors")
    run(job)
    return job


def test_package_can_be_sampled_and_says_how_it_was_made(trained: TrainingJob, tiny_base: Base) -> None:
    package = read_package(trained.out)
    manifest = package.manifest
    assert (manifest.id, manifest.init_word, manifest.base_digest) == ("disc", "toy", tiny_base.digest)
    assert manifest.recipe["seed"] == 0
    assert manifest.recipe["size"] == 32
    assert manifest.evaluation["loss"] > 0
    assert Image.open(io.BytesIO(manifest.preview_png)).size == (64, 64)
    assert package.references.shape == (1, 4, 16, 16)
    request = PictureRequest("a * on the beach", steps=2)
    assert generate(tiny_base, request, load_concept(tiny_base, package))[0].size == (32, 32)


def test_everything_trainable_was_trained(trained: TrainingJob, tiny_base: Base) -> None:
    package = read_package(trained.out)
    table = tiny_base.text_encoder.get_input_embeddings().weight
    begun = table[torch.tensor(tiny_base.encode_text("toy"))].numpy()
    assert np.abs(package.token_embedding - begun).max() > 1e-3
    for site in tiny_base.sites:
        assert np.abs(package.image_attention(site.name)["attn2.to_out.0.weight"]).max() > 0


def test_pictures_are_drawn_on_the_way_and_one_checkpoint_is_kept(trained: TrainingJob) -> None:
    folder = trained.work_folder
    assert [f.name for f in folder.glob("*.safetensors")] == ["step-000004.safetensors"]
    drawn = sorted(f.name for f in (folder / "validation").iterdir())
    assert drawn == [f"step-00000{step}-{i}.png" for step in (3, 4) for i in (0, 1)]


def test_report_needs_nothing_beside_it(trained: TrainingJob) -> None:
    page = trained.report.read_text()
    # three photos, two pictures, three photos' masks at two sites
    assert page.count("data:image/png;base64,") == 3 + 2 + 6
    assert page.count("<circle") == 4
    assert "http" not in page
    assert "a * in the snow" in page


def test_resumed_run_goes_on_bit_for_bit(trained: TrainingJob, tmp_path: Path) -> None:
    out = tmp_path / "disc.safetensors"
    half = replace(trained, out=out, recipe=replace(RECIPE, steps=2))
    whole = replace(trained, out=out, resume=True)
    assert not same_tensors(run(half), read_package(trained.out))
    assert same_tensors(run(whole), read_package(trained.out))


def test_equal_seeds_give_equal_concepts(trained: TrainingJob, tmp_path: Path) -> None:
    again = run(replace(trained, out=tmp_path / "disc.safetensors"))
    assert same_tensors(again, read_package(trained.out))
    other = run(replace(trained, out=tmp_path / "disc.safetensors", seed=1))
    assert not same_tensors(other, again)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 9}, "seed"),
        ({"init_word": "dog"}, "init word"),
        ({"recipe": replace(RECIPE, block_lr=1e-4)}, "block_lr"),
    ],
)
def test_checkpoint_of_another_run_is_refused(trained: TrainingJob, change: dict[str, object], named: str) -> None:
    with pytest.raises(CheckpointError, match=f"trained with another {named}"):
        run(replace(trained, resume=True, **change))  # type: ignore[arg-type]


def test_nothing_to_resume(trained: TrainingJob, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        run(replace(trained, out=tmp_path / "disc.safetensors", resume=True))


def test_torn_checkpoint_is_refused(trained: TrainingJob, tmp_path: Path) -> None:
    job = replace(trained, out=tmp_path / "disc.safetensors")
    run(replace(job, recipe=replace(RECIPE, steps=1)))
    checkpoint = latest_checkpoint(job.work_folder)
    assert checkpoint is not None
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"step-000001\.safetensors is damaged"):
        run(replace(job, resume=True))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"concept_id": "No Such"}, ConceptError, "malformed id"),
        ({"init_word": " "}, TrainingError, "init word"),
        ({"recipe": replace(RECIPE, size=30)}, TrainingError, "size: 30 pixels; accepted: a multiple of 4"),
        ({"photos": Path("/absent")}, VicoError, "photos"),
        ({"base": Path("/absent")}, VicoError, "base"),
    ],
)
def test_refusals_write_nothing(
    tiny_base_folder: Path,
    photos: Path,
    tmp_path: Path,
    change: dict[str, object],
    error: type[VicoError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        run(replace(make_job(tiny_base_folder, photos, tmp_path / "disc.safetensors"), **change))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_loss_that_is_not_finite_stops_the_run(tiny_base_folder: Path, photos: Path, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE, block_lr=1.0, token_lr=1.0, zero_init=False, steps=60, checkpoint_every=99, weight_decay=1e30
    )
    job = make_job(tiny_base_folder, photos, tmp_path / "disc.safetensors", recipe=recipe)
    with pytest.raises(TrainingError, match="loss: it is"):
        run(job)
    assert not job.out.exists()


def test_bf16_trains_and_several_vectors_are_learned(tiny_base_folder: Path, photos: Path, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE, vectors=2, references=2, gradient_checkpointing=True, lr_schedule="cosine", max_grad_norm=1.0
    )
    AcceleratorState._reset_state(reset_partial_state=True)
    job = make_job(tiny_base_folder, photos, tmp_path / "disc.safetensors", mixed_precision="bf16", recipe=recipe)
    package = run(job)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert package.token_embedding.shape == (2, 32)
    assert package.references.shape == (2, 4, 16, 16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_bf16(tiny_base_folder: Path, photos: Path, tmp_path: Path) -> None:
    run(make_job(tiny_base_folder, photos, tmp_path / "disc.safetensors", device="cuda", mixed_precision="bf16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_absent_cuda_is_said(tiny_base_folder: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no CUDA device"):
        run(make_job(tiny_base_folder, photos, tmp_path / "disc.safetensors", device="cuda"))


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, training.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
