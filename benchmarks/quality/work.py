"""Trains and draws pairs, two at a time, each in a process of one thread.

Two processes of one thread do twice the work of one of two on networks this small (measured for the toy base).
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.quality.pair import Pair, key_of
from benchmarks.quality.store import Facts, Store
from training.evaluation.draw import draw_suite
from training.evaluation.subject import Subject, load_subjects
from vico.base import Base, load_base


def run_pair(pair: Pair, folder: Path) -> Facts:
    """Train, draw the suite, save; returns the facts. The key is taken first: what changes meanwhile makes it stale."""
    key, method = key_of(pair), pair.make()
    base = base_at(pair.setting.base)
    subject = subject_of(pair, base.default_size)
    trained = method.train(base, subject, pair.setting.seed, pair.setting.seconds)
    started = time.monotonic()
    drawn = draw_suite(trained.maker, pair.suite)
    facts = Facts(
        key=key,
        pictures="",
        label=pair.label,
        method=pair.method,
        concept=pair.concept,
        seconds=trained.seconds,
        steps=trained.steps,
        parameters=trained.parameters,
        drawing_seconds=time.monotonic() - started,
    )
    Store(folder).save(pair, drawn, facts)
    return facts


def run_pairs(
    pairs: Sequence[Pair],
    store: Store,
    console: Console,
    workers: Executor,
    run: Callable[[Pair, Path], Facts] = run_pair,
) -> int:
    """Run the pairs that are not finished on `workers`, and shut these down; returns how many pairs those were.

    What is done stays, whatever happens later.

    Raises:
        VicoError: of the first pair that failed; pairs under way are finished, the others are not begun.
    """
    todo = [pair for pair in pairs if not store.finished(pair)]
    console.print(f"{len(pairs) - len(todo)} of {len(pairs)} pairs are finished", highlight=False)
    with _bar(console) as bar, workers:
        task = bar.add_task("pairs", total=len(todo), last="")
        futures = {workers.submit(run, pair, store.folder): pair for pair in todo}
        for done in as_completed(futures):
            bar.update(task, advance=1, last=_line(_result(done, futures)))
    return len(todo)


def _result(done: Future[Facts], others: Iterable[Future[Facts]]) -> Facts:
    try:
        return done.result()
    except BaseException:
        for future in others:
            future.cancel()
        raise


def _line(facts: Facts) -> str:
    return f"{facts.label} {facts.concept}: {facts.steps} steps in {facts.seconds:.0f} s"


def pool(processes: int) -> ProcessPoolExecutor:
    """Processes of one thread each."""
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    import torch

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@lru_cache(maxsize=1)
def base_at(folder: Path) -> Base:
    """A base, read once a process."""
    return load_base(folder)


def subject_of(pair: Pair, size: int) -> Subject:
    """The pair's concept with the photos that it may see, at `size` pixels."""
    subject = next(s for s in _subjects(pair.setting.photos, size) if s.id == pair.concept)
    return replace(subject, train=subject.train[: pair.photos])


@lru_cache(maxsize=1)
def _subjects(folder: Path, size: int) -> tuple[Subject, ...]:
    return load_subjects(folder, size)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
        console=console,
    )
