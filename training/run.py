"""One training run from a folder of photos to a concept package with its report."""

from __future__ import annotations

import datetime
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from PIL import Image
from rich.console import Console
from torch import Tensor

from training.batches import BatchMaker
from training.checkpoints import Progress
from training.concept_model import ConceptModel
from training.errors import TrainingError
from training.loop import Precision, RunSettings, train_concept
from training.masks import mask_pictures
from training.photos import Photo, load_photos
from training.recipe import Recipe, to_dict
from training.report import Captioned, png_bytes, write_report
from vico.base import Base, load_base
from vico.concept import Manifest, image_attention_key, validate_concept_id, write_package
from vico.pipeline import PictureRequest, encode_pictures, generate

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainingJob:
    """What `vico train` was asked for."""

    base: Path
    photos: Path
    init_word: str
    out: Path  # the concept package
    recipe: Recipe
    concept_id: str
    placeholder: str = "*"
    seed: int = 0
    resume: bool = False
    device: Device = "auto"
    mixed_precision: Precision = "no"
    licence: str = ""

    @property
    def work_folder(self) -> Path:
        """Checkpoints and validation pictures, beside the package."""
        return self.out.with_suffix(".train")

    @property
    def report(self) -> Path:
        """The report, beside the package."""
        return self.out.with_suffix(".html")


def run_training(job: TrainingJob, console: Console) -> str:
    """Train, write the package and its report; returns the concept's digest.

    Nothing is written beside checkpoints and validation pictures until the end, and then whole files only.

    Raises:
        VicoError: whatever was refused, by field: base, photos, init word, id, recipe, resume, device, loss.
    """
    validate_concept_id(job.concept_id)
    accelerator = _accelerator(job)
    base = load_base(job.base, accelerator.device)
    recipe = replace(job.recipe, size=job.recipe.size or base.default_size)
    photos = _load(job, recipe, base, console)
    latents = torch.cat([encode_pictures(base, [photo.picture]) for photo in photos])
    model = ConceptModel(base, job.init_word, recipe.vectors, zero_init=recipe.zero_init, seed=job.seed)
    if recipe.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
    batches = BatchMaker(
        base, latents, job.placeholder, recipe.vectors, recipe.batch_size, job.seed, accelerator.process_index
    )
    settings = RunSettings(job.work_folder, _identity(job, recipe, base, latents), job.resume, job.mixed_precision)
    if not job.resume and accelerator.is_main_process:
        _forget(job.work_folder)
    trail = _Validation(job, recipe, base, model, latents)
    progress = train_concept(model, batches, recipe, settings, accelerator, console, trail.draw)
    if not accelerator.is_main_process:
        return ""
    return _finish(job, recipe, base, model, photos, latents, progress, console)


class _Validation:
    """Pictures of the concept as it stands, drawn without touching the training's random numbers."""

    def __init__(self, job: TrainingJob, recipe: Recipe, base: Base, model: ConceptModel, latents: Tensor) -> None:
        self._job, self._recipe, self._base, self._model, self._latents = job, recipe, base, model, latents

    def draw(self, step: int) -> None:
        folder = self._job.work_folder / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        for i, captioned in enumerate(sample(self._job, self._recipe, self._base, self._model, self._latents)):
            captioned.picture.save(folder / f"step-{step:06d}-{i}.png")


def sample(job: TrainingJob, recipe: Recipe, base: Base, model: ConceptModel, latents: Tensor) -> list[Captioned]:
    """One picture for each validation prompt."""
    concept = model.concept(job.placeholder, latents[: recipe.references])
    pictures = []
    for template in recipe.validation_prompts:
        prompt = template.format(job.placeholder)
        request = PictureRequest(
            prompt, seed=job.seed, steps=recipe.validation_steps, guidance_scale=recipe.guidance_scale
        )
        pictures.append(Captioned(generate(base, request, concept)[0], prompt))
    return pictures


def _finish(
    job: TrainingJob,
    recipe: Recipe,
    base: Base,
    model: ConceptModel,
    photos: Sequence[Photo],
    latents: Tensor,
    progress: Progress,
    console: Console,
) -> str:
    pictures = sample(job, recipe, base, model, latents)
    seconds = round(progress.seconds, 1)
    manifest = Manifest(
        id=job.concept_id,
        init_word=job.init_word,
        base_digest=base.digest,
        base_name=base.name,
        sites=base.site_specs,
        tensors={},
        placeholder=job.placeholder,
        recipe={**to_dict(recipe), "seed": job.seed, "mixed_precision": job.mixed_precision, "photos": len(photos)},
        evaluation={"loss": _mean_loss(progress), "seconds": seconds},
        preview_png=png_bytes(pictures[0].picture.resize((64, 64), Image.Resampling.BICUBIC)),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        licence=job.licence,
    )
    digest = write_package(job.out, manifest, _tensors(recipe, base, model, latents))
    concept = model.concept(job.placeholder, latents)
    masks = mask_pictures(base, concept, [photo.picture for photo in photos], latents)
    write_report(
        job.report,
        f"Concept {job.concept_id}",
        {
            "base": f"{base.name} ({base.digest[:12]})",
            "init word": job.init_word,
            "recipe": recipe.name,
            "steps": f"{progress.step} of {recipe.batch_size} rows, seed {job.seed}",
            "time": f"{seconds} s",
            "last loss": f"{_mean_loss(progress):.4f}",
            "digest": digest,
        },
        progress.losses,
        {
            "Photos": [Captioned(photo.picture, photo.file.name) for photo in photos],
            "Pictures": pictures,
            "Masks over the photos (what the image attention reads, site by site)": [
                Captioned(picture, f"{photo.file.name}, {site.name}")
                for photo, row in zip(photos, masks, strict=True)
                for site, picture in zip(base.sites, row, strict=True)
            ],
        },
    )
    console.print(f"wrote {job.out} and {job.report}", highlight=False)
    return digest


def _tensors(recipe: Recipe, base: Base, model: ConceptModel, latents: Tensor) -> dict[str, Any]:
    tensors = {
        "token_embedding": model.token_embedding,
        "references": latents[: recipe.references],
    }
    for site, block in zip(base.sites, model.image_blocks, strict=True):
        tensors |= {image_attention_key(site.name, name): p for name, p in block.named_parameters()}
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}


def _load(job: TrainingJob, recipe: Recipe, base: Base, console: Console) -> tuple[Photo, ...]:
    if recipe.size % base.size_multiple:
        raise TrainingError("size", f"{recipe.size} pixels", f"a multiple of {base.size_multiple}")
    photos = load_photos(job.photos, recipe.size, centre_crop=recipe.centre_crop)
    if small := [photo.file.name for photo in photos if photo.enlarged]:
        console.print(f"smaller than {recipe.size} pixels, enlarged: {', '.join(small)}", highlight=False)
    return photos


def _identity(job: TrainingJob, recipe: Recipe, base: Base, latents: Tensor) -> dict[str, Any]:
    """Everything that decides the result; where training pictures are drawn does not."""
    ignored = {"checkpoint_every", "validation_every", "validation_prompts", "validation_steps", "guidance_scale"}
    if recipe.lr_schedule == "constant":
        # then more steps go on as the same run
        ignored.add("steps")
    return {
        **{k: v for k, v in to_dict(recipe).items() if k not in ignored},
        "base": base.digest,
        "photos": hashlib.sha256(latents.float().cpu().numpy().tobytes()).hexdigest(),
        "init word": job.init_word,
        "placeholder": job.placeholder,
        "seed": job.seed,
        "mixed precision": job.mixed_precision,
    }


def _forget(folder: Path) -> None:
    """Remove what an earlier run left, and nothing else."""
    for checkpoint in folder.glob("step-*.safetensors"):
        checkpoint.unlink()
    shutil.rmtree(folder / "validation", ignore_errors=True)


def _accelerator(job: TrainingJob) -> Accelerator:
    if job.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device", "there is no CUDA device", "cpu, or auto")
    return Accelerator(mixed_precision=job.mixed_precision, cpu=job.device == "cpu")


def _mean_loss(progress: Progress) -> float:
    last = [point.noise for point in progress.losses[-20:]]
    return round(sum(last) / max(len(last), 1), 6)
