"""The stages behind the commands: each checks what it needs, does what is missing, says what it did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from transformers import CLIPTokenizer

from training.toy import parallel, photos
from training.toy.cutouts import load_cutouts, render_jobs, run_blender
from training.toy.dataset import Pictures, shard_path, write_shard, write_validation
from training.toy.judge import JudgeRecipe, load_judge, save_judge, train_judge
from training.toy.latents import LatentSet, cache_latents, normalise
from training.toy.look_alikes import write_look_alikes
from training.toy.loop import progress_bar, read_curve
from training.toy.parts import AutoencoderKL
from training.toy.paths import PHOTOS, PROBE, Work
from training.toy.probe import ProbeRecipe, probe_accuracy, save_probe, train_probe
from training.toy.sources import fetch_blender, fetch_emoji, fetch_furniture
from training.toy.tokens import write_tokenizer
from training.toy.unet import UnetRecipe, averaged_model, train_unet
from training.toy.vae import VaeRecipe, psnr, reconstruct, train_vae
from training.toy.vocabulary import HeldOut
from training.toy.world import World

console = Console()


def load_world(work: Work, seed: int = 0) -> World:
    """The world of the cut-outs in the work folder."""
    return World(load_cutouts(work.emoji, work.cutouts), seed)


def _render(work: Work, jobs: list[dict[str, Any]], title: str) -> None:
    waiting = [job for job in jobs if not Path(job["out"]).exists()]
    if not waiting:
        return
    fetch_blender(work)
    with progress_bar() as bar:
        task = bar.add_task(title, total=len(waiting), note="")
        run_blender(work.blender_python, waiting, work.root, lambda done: bar.update(task, completed=done))


def make_data(work: Work, shards: int) -> None:
    """Sources, cut-outs, tokenizer, pictures."""
    work.root.mkdir(parents=True, exist_ok=True)
    fetch_emoji(work)
    fetch_furniture(work)
    _render(work, render_jobs(work.furniture, work.cutouts), "cut-outs")
    if not (work.tokenizer / "vocab.json").exists():
        write_tokenizer(work.tokenizer)
    world = load_world(work)
    with progress_bar() as bar:
        task = bar.add_task("pictures", total=shards, note="in shards of 2,000")
        for number in range(shards):
            if not shard_path(work.pictures, number).exists():
                write_shard(world, work.pictures, number)
            bar.update(task, advance=1)
    if not (work.pictures / "validation.npy").exists():
        write_validation(load_world(work, seed=1), work.pictures)


def make_vae(work: Work, steps: int, decoder_steps: int) -> None:
    """Trains the VAE and fixes the latent space; then, if asked, the decoder alone; then codes what is not coded."""
    validation = np.load(work.pictures / "validation.npy")
    final = work.vae / "final"
    if not final.exists():
        vae = train_vae(work.pictures, validation, work.vae, VaeRecipe(steps=steps))
        normalise(vae, np.asarray(Pictures.open(work.pictures).shards[0][:1000]))
        vae.save_pretrained(final)
    vae = AutoencoderKL.from_pretrained(final).eval()
    if decoder_steps:
        recipe = VaeRecipe(steps=decoder_steps, rate=2e-3, decoder_only=True)
        vae = train_vae(work.pictures, validation, work.root / "vae-decoder", recipe, start=vae)
        vae.save_pretrained(final)
    console.print(f"VAE: {psnr(validation, reconstruct(vae, validation)):.2f} dB on unseen pictures")
    with progress_bar() as bar:
        task = bar.add_task("latents", total=len(Pictures.open(work.pictures).shards), note="in shards of 2,000")
        cache_latents(vae, work.pictures, work.latents, lambda done: bar.update(task, completed=done))


def make_unet(work: Work, minutes: float, pictures: int, processes: int) -> None:
    """Trains the denoiser for `minutes`, in several processes."""
    parallel.run(processes, _train_unet, work, minutes, pictures)


def _train_unet(work: Work, minutes: float, pictures: int) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(work.tokenizer)
    vae = AutoencoderKL.from_pretrained(work.vae / "final").eval()
    data = LatentSet.open(work.latents)
    train_unet(data, tokenizer, vae, work.unet, UnetRecipe(pictures=pictures), 60 * minutes)


def make_judge(work: Work, steps: int) -> None:
    """Trains the judge on the world's ground truth."""
    train_judge(work.pictures, work.judge, JudgeRecipe(steps=steps))


def make_photos(work: Work, out: Path, things: Sequence[HeldOut], command: str) -> None:
    """Renders the sample photos of `things`."""
    fetch_furniture(work)
    _render(work, photos.all_jobs(things, work.furniture, work.root / "photos"), "photos")
    photos.publish(things, work.furniture, work.root / "photos", out, command)
    console.print(f"photos of {len(things)} concepts in {out}")


def make_export(work: Work, out: Path) -> None:
    """Writes the base to `out`."""
    from training.toy.export import attributions, export_base

    tokenizer = CLIPTokenizer.from_pretrained(work.tokenizer)
    vae = AutoencoderKL.from_pretrained(work.vae / "final").eval()
    model, steps = averaged_model(work.unet, tokenizer)
    export_base(out, model, vae, work.tokenizer)
    (out / "ATTRIBUTION.md").write_text(attributions(work.furniture), encoding="utf-8")
    write_curves(work, out)
    console.print(f"base after {steps} steps in {out}")


def write_curves(work: Work, out: Path) -> None:
    """``curves.json``: both training curves; `adopt` reads from it how far the training had come."""
    curves = {"vae": read_curve(work.vae / "curve.jsonl"), "unet": read_curve(work.unet / "curve.jsonl")}
    lines = [f'"{name}": [\n' + ",\n".join(map(json.dumps, curve)) + "\n]" for name, curve in curves.items()]
    (out / "curves.json").write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


def make_probe(work: Work, base: Path) -> None:
    """Trains the probe on the judge of `base` and writes it beside it, with its accuracy on real renders."""
    judge, recipe = load_judge(base / "judge.safetensors"), ProbeRecipe()
    probe = train_probe(judge, work.pictures, recipe)
    save_probe(probe, base / PROBE)
    figures = probe_accuracy(judge, probe, work.pictures, recipe.shards)
    (base / PROBE).with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    console.print_json(json.dumps(figures))


def make_look_alikes(work: Work, out: Path) -> None:
    """Draws the world's objects that the held-out ones are nearest to."""
    write_look_alikes(load_world(work), out)


def make_score(work: Work, base: Path) -> None:
    """Judges the base in folder `base`."""
    from training.toy.evaluate import evaluate

    torch.manual_seed(0)
    if not (base / "judge.safetensors").exists():
        save_judge(train_judge(work.pictures, work.judge, JudgeRecipe()), base / "judge.safetensors")
    judge = load_judge(base / "judge.safetensors")
    result = evaluate(base, judge, load_world(work, seed=2), np.load(work.pictures / "validation.npy"), PHOTOS)
    console.print_json(json.dumps(result))
