"""What a training run leaves: pictures on the way, the concept package and its report at the end."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from training.checkpoints import Progress
from training.events import PictureDrawn, PicturesDrawn, Watch, jpeg, unwatched
from training.job import Run
from training.masks import mask_pictures
from training.recipe import to_dict
from training.report import Captioned, png_bytes, write_report
from vico.concept import Manifest, image_attention_key, read_package, write_package
from vico.pipeline import PictureRequest, generate

_PREVIEW = (64, 64)
_LAST_STEPS = 20


def sample_pictures(run: Run) -> list[Captioned]:
    """The concept as it stands: one picture for each validation prompt. Draws no number of the training's."""
    concept = run.concept(run.latents[: run.recipe.references])
    pictures = []
    for template in run.recipe.validation_prompts:
        prompt = template.format(run.job.placeholder)
        request = PictureRequest(
            prompt, seed=run.job.seed, steps=run.recipe.validation_steps, guidance_scale=run.recipe.guidance_scale
        )
        pictures.append(Captioned(generate(run.base, request, concept)[0], prompt))
    return pictures


def draw_validation(run: Run, step: int, watch: Watch = unwatched) -> None:
    """Write the pictures after `step` steps into the run's folder."""
    folder = run.job.work_folder / "validation"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = sample_pictures(run)
    for i, captioned in enumerate(pictures):
        captioned.picture.save(folder / f"step-{step:06d}-{i}.png")
    watch(PicturesDrawn(step, tuple(PictureDrawn(drawn.caption, jpeg(drawn.picture)) for drawn in pictures)))


Accept = Callable[[Path], None]
"""Judges a package that is written but not yet in its place, may write into it, and raises to keep it from there."""


def write_outcome(run: Run, progress: Progress, accept: Accept | None = None) -> str:
    """Write the concept package and its report; returns the concept's digest.

    What `accept` refuses stays in the run's folder beside the checkpoints, and what was at `out` before stays there.
    """
    pictures = sample_pictures(run)
    digest = _write_package(run, _manifest(run, progress, pictures[0].picture), accept)
    write_report(
        run.job.report,
        f"Concept {run.job.concept_id}",
        _facts(run, progress, digest),
        progress.losses,
        {
            "Photos": [Captioned(photo.picture, photo.file.name) for photo in run.photos],
            "Pictures": pictures,
            "Masks over the photos (what the image attention reads, site by site)": _masks(run),
        },
    )
    return digest


def _write_package(run: Run, manifest: Manifest, accept: Accept | None) -> str:
    if accept is None:
        return write_package(run.job.out, manifest, _tensors(run))
    candidate = run.job.candidate
    candidate.parent.mkdir(parents=True, exist_ok=True)
    write_package(candidate, manifest, _tensors(run))
    accept(candidate)
    candidate.replace(run.job.out)
    return read_package(run.job.out).digest


def _manifest(run: Run, progress: Progress, picture: Image.Image) -> Manifest:
    job = run.job
    return Manifest(
        id=job.concept_id,
        init_word=job.init_word,
        base_digest=run.base.digest,
        base_name=run.base.name,
        sites=run.base.site_specs,
        tensors={},
        placeholder=job.placeholder,
        recipe={
            **to_dict(run.recipe),
            "seed": job.seed,
            "mixed_precision": job.mixed_precision,
            "photos": len(run.photos),
        },
        evaluation={"loss": _last_loss(progress), "seconds": round(progress.seconds, 1)},
        preview_png=png_bytes(picture.resize(_PREVIEW, Image.Resampling.BICUBIC)),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        licence=job.licence,
        reference_context=run.recipe.reference_context,
        negative_image_guidance=run.recipe.negative_image_guidance,
    )


def _tensors(run: Run) -> dict[str, Any]:
    model = run.trainer.model
    tensors = {"token_embedding": model.token_embedding, "references": run.latents[: run.recipe.references]}
    for site, block in zip(run.base.sites, model.image_blocks, strict=True):
        tensors |= {image_attention_key(site.name, name): p for name, p in block.named_parameters()}
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}


def _facts(run: Run, progress: Progress, digest: str) -> dict[str, str]:
    return {
        "base": f"{run.base.name} ({run.base.digest[:12]})",
        "init word": run.job.init_word,
        "recipe": run.recipe.name,
        "steps": f"{progress.step} of {run.recipe.batch_size} rows, seed {run.job.seed}",
        "time": f"{progress.seconds:.0f} s",
        "last loss": f"{_last_loss(progress):.4f}",
        "digest": digest,
    }


def _masks(run: Run) -> list[Captioned]:
    rows = mask_pictures(run.base, run.concept(run.latents), [photo.picture for photo in run.photos], run.latents)
    return [
        Captioned(picture, f"{photo.file.name}, {site.name}")
        for photo, row in zip(run.photos, rows, strict=True)
        for site, picture in zip(run.base.sites, row, strict=True)
    ]


def _last_loss(progress: Progress) -> float:
    """Mean squared error of the noise over the last steps."""
    last = [point.noise for point in progress.losses[-_LAST_STEPS:]]
    return round(sum(last) / max(len(last), 1), 6)
