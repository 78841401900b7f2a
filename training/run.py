"""One training run from a folder of photos to a concept package with its report."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from rich.console import Console

from training.errors import TrainingError
from training.events import Watch, Written, unwatched
from training.job import Run, TrainingJob
from training.look import look_at
from training.loop import RunSettings, train_concept
from training.outcome import Accept, draw_validation, write_outcome
from training.photos import Photo, load_photos
from training.recipe import Recipe, to_dict
from training.setup import set_up
from vico.base import Base, load_base
from vico.concept import validate_concept_id


def run_training(job: TrainingJob, console: Console, accept: Accept | None = None, watch: Watch = unwatched) -> str:
    """Train, write the package and its report; returns the concept's digest.

    Nothing is written beside checkpoints and validation pictures until the end, and then whole files only.

    Raises:
        VicoError: whatever was refused, by field: base, photos, init word, id, recipe, resume, device, loss; and what
            `accept` raises.
    """
    validate_concept_id(job.concept_id)
    accelerator = _accelerator(job)
    run = _prepare(job, load_base(job.base, accelerator.device), accelerator.process_index, console, watch)
    if not job.resume and accelerator.is_main_process:
        _forget(job.work_folder)
    settings = RunSettings(job.work_folder, _identity(run), job.resume)
    progress = train_concept(
        run.trainer, run.recipe, settings, accelerator, console, lambda step: draw_validation(run, step, watch), watch
    )
    if not accelerator.is_main_process:
        return ""
    digest = write_outcome(run, progress, accept)
    console.print(f"wrote {job.out} and {job.report}", highlight=False)
    watch(Written(job.concept_id, digest))
    return digest


def look_first(job: TrainingJob, console: Console, watch: Watch) -> None:
    """Only tell what training would look at; nothing is written.

    Raises:
        VicoError: what would be refused of base, photos and init word.
    """
    base = load_base(job.base, _accelerator(job).device)
    recipe = replace(job.recipe, size=job.recipe.size or base.default_size)
    watch(look_at(base, recipe, _load(job, recipe, base, console), job.init_word))


def _prepare(job: TrainingJob, base: Base, process: int, console: Console, watch: Watch) -> Run:
    recipe = replace(job.recipe, size=job.recipe.size or base.default_size)
    photos = _load(job, recipe, base, console)
    if watch is not unwatched and process == 0:
        watch(look_at(base, recipe, photos, job.init_word))
    if recipe.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
    pictures = [photo.picture for photo in photos]
    trainer, latents = set_up(
        base, recipe, pictures, job.init_word, placeholder=job.placeholder, seed=job.seed, process=process
    )
    return Run(job, recipe, base, photos, latents, trainer)


def _load(job: TrainingJob, recipe: Recipe, base: Base, console: Console) -> tuple[Photo, ...]:
    if recipe.size % base.size_multiple:
        raise TrainingError("size", f"{recipe.size} pixels", f"a multiple of {base.size_multiple}")
    photos = load_photos(job.photos, recipe.size, centre_crop=recipe.centre_crop)
    if small := [photo.file.name for photo in photos if photo.enlarged]:
        console.print(f"smaller than {recipe.size} pixels, enlarged: {', '.join(small)}", highlight=False)
    return photos


def _identity(run: Run) -> dict[str, Any]:
    """Everything that decides the result; where training pictures are drawn does not."""
    ignored = {"checkpoint_every", "validation_every", "validation_prompts", "validation_steps", "guidance_scale"}
    if run.recipe.lr_schedule == "constant" and run.recipe.token_lr_schedule != "cosine":
        # then more steps go on as the same run
        ignored.add("steps")
    return {
        **{name: value for name, value in to_dict(run.recipe).items() if name not in ignored},
        "base": run.base.digest,
        "photos": hashlib.sha256(run.latents.float().cpu().numpy().tobytes()).hexdigest(),
        "init word": run.job.init_word,
        "placeholder": run.job.placeholder,
        "seed": run.job.seed,
        "mixed precision": run.job.mixed_precision,
    }


def _forget(folder: Path) -> None:
    """Remove what an earlier run left, and nothing else."""
    for checkpoint in folder.glob("step-*.safetensors"):
        checkpoint.unlink()
    shutil.rmtree(folder / "validation", ignore_errors=True)


def _accelerator(job: TrainingJob) -> Accelerator:
    if job.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device", "there is no CUDA device", "cpu, or auto")
    recipe = job.recipe
    # with these a step may leave the token without a gradient, which several processes must agree on
    unused = DistributedDataParallelKwargs(find_unused_parameters=bool(recipe.token_steps or recipe.caption_drop))
    return Accelerator(mixed_precision=job.mixed_precision, cpu=job.device == "cpu", kwargs_handlers=[unused])
