"""One short training run in this process, and three of them compared: whole, killed, resumed."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.full_size.record import Record
from training.recipe import load_recipe
from vico.concept import read_package
from vico.errors import VicoError

MEMORY_LIMIT_BYTES = 24 * 2**30
PHOTOS = 4
_POLL_SECONDS = 0.005
_KIB = 1024


class TrialError(VicoError):
    """A trial that did not come to its end."""


@dataclass(frozen=True)
class Trial:
    """What to try."""

    base: Path
    work: Path  # photos, checkpoints and packages
    size: int = 512  # pixels
    steps: int = 3
    batch_size: int | None = None  # None: the recipe's
    recipe: str = "sd15"


def run_once(trial: Trial, out: Path, *, resume: bool) -> None:
    """Train in this process, with a checkpoint after every step, and one quick picture at the end."""
    from rich.console import Console

    from training.job import TrainingJob
    from training.run import run_training

    recipe = load_recipe(trial.recipe, trial.base, steps=trial.steps, batch_size=trial.batch_size, size=trial.size)
    # pictures of random weights show nothing: one, of one step, keeps the run short
    recipe = replace(
        recipe,
        checkpoint_every=1,
        gradient_checkpointing=True,
        validation_every=trial.steps + 1,
        validation_prompts=("a photo of a {}",),
        validation_steps=1,
    )
    job = TrainingJob(trial.base, _photos(trial), "cup", out, recipe, out.stem, resume=resume, device="cpu")
    run_training(job, Console())


def try_out(trial: Trial) -> Record:
    """Train without a break; train again, kill it after the step before the last, resume; compare bit for bit.

    Raises:
        TrialError: a run failed, or ended before it could be killed.
    """
    whole, broken = trial.work / "whole.safetensors", trial.work / "broken.safetensors"
    _photos(trial)
    started = time.monotonic()
    _finish(_start(trial, whole))
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _KIB
    killed_after = _kill_after(_start(trial, broken), broken, trial.steps - 1)
    _finish(_start(trial, broken, resume=True))
    package, resumed = read_package(whole), read_package(broken)
    trained = {name: t for name, t in package.tensors.items() if name != "references"}
    return Record(
        base=package.manifest.base_name,
        recipe=str(package.manifest.recipe["name"]),
        size=int(package.manifest.recipe["size"]),
        batch_size=int(package.manifest.recipe["batch_size"]),
        steps=trial.steps,
        trainable_parameters=sum(tensor.size for tensor in trained.values()),
        peak_rss_bytes=peak,
        limit_bytes=MEMORY_LIMIT_BYTES,
        seconds=round(seconds, 1),
        training_seconds=float(package.manifest.evaluation["seconds"]),
        killed_after_step=killed_after,
        resumed_is_equal=_equal(package.tensors, resumed.tensors),
    )


def _start(trial: Trial, out: Path, *, resume: bool = False) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.full_size", "once", "--base", trial.base, "--work", trial.work]
    command += ["--out", out, "--size", trial.size, "--steps", trial.steps, "--recipe", trial.recipe]
    command += [] if trial.batch_size is None else ["--batch-size", trial.batch_size]
    return subprocess.Popen([*map(str, command), *(["--resume"] if resume else [])])


def _finish(process: subprocess.Popen[bytes]) -> None:
    if code := process.wait():
        raise TrialError("run", f"it ended with exit code {code}", "a run that ends by itself (its output is above)")


def _kill_after(process: subprocess.Popen[bytes], out: Path, step: int) -> int:
    """Kill a run, without warning, as soon as its checkpoint of `step` is there; returns the checkpoint's step."""
    folder = out.with_suffix(".train")
    while process.poll() is None:
        done = max((int(file.stem[5:]) for file in folder.glob("step-*.safetensors")), default=0)
        if done >= step:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return done
        time.sleep(_POLL_SECONDS)
    raise TrialError("run", f"it ended with exit code {process.returncode} before it was killed", "a longer run")


def _equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:  # type: ignore[type-arg]
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def _photos(trial: Trial) -> Path:
    """Four pictures of noise at the size of training."""
    folder = trial.work / "photos"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        random = np.random.default_rng(0)
        for number in range(PHOTOS):
            coarse = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((trial.size, trial.size)).save(folder / f"{number}.png")
    return folder
