"""p99 of a step while concepts are loaded, evicted and replaced, over that of the same work on concepts that stay.

Prompts and negative prompts are new in both, so that both compute the reference features of both halves of guidance
(those of the empty prompt are new with every new concept, and would be swapping's alone): the difference is the
swapping. A step is counted from the end of the one before: slots are written between two steps.
"""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving.bench import Bench, Measurement, TakeRound
from benchmarks.serving.load import closed, percentile, send, workload
from benchmarks.serving.probe_log import between, fullest, periods
from benchmarks.serving.results import Round
from benchmarks.serving.settings import SCENES


@contextmanager
def _opened(bench: Bench) -> Iterator[TakeRound]:
    def take(number: int) -> Round:
        figures: dict[str, dict[str, float]] = {}
        sides = ("staying", "swapping")
        for side in sides if number % 2 == 0 else sides[::-1]:
            if side == "staying":
                figures[side] = _steps(bench, bench.ids[: min(bench.settings.slots, bench.settings.lanes)], number)
            else:
                with replacing(bench):
                    figures[side] = _steps(bench, bench.ids, number)
        staying, swapping = figures["staying"], figures["swapping"]
        return {
            "swap_step_p99_ratio": swapping["p99"] / staying["p99"],
            "swap_step_p50_ratio": swapping["p50"] / staying["p50"],
            "swaps_per_step": swapping["swaps"],
            "swaps_per_step_staying": staying["swaps"],
        }

    yield take


def _steps(bench: Bench, concepts: Sequence[str], number: int) -> dict[str, float]:
    settings, server = bench.settings, bench.server()
    takes = range(100 * number, 100 * number + 50)
    prompts = [f"take {take} of a * {scene}" for take, scene in itertools.product(takes, SCENES)]
    counts = [settings.picture_steps - 3, settings.picture_steps]
    negative = [f"take {take}, {scene}" for take, scene in itertools.product(takes, SCENES)]
    asked = workload(concepts, counts, popularity="uniform", prompts=prompts, negative_prompts=negative)
    sent = send(bench, server, closed(bench, 2 * settings.lanes, settings.swap_seconds), asked, number)
    steps = between(server.log.steps(), sent.begin + settings.warmup_seconds, sent.end)
    full = [period.seconds for period in fullest(periods(steps))]
    swaps = (steps[-1].swaps - steps[0].swaps) / len(steps)
    return {"p99": percentile(full, 99), "p50": percentile(full, 50), "swaps": swaps}


@contextmanager
def replacing(bench: Bench) -> Iterator[None]:
    """Concepts of the registry get another content, one after the other, and the first again, for as long as the block
    lasts; afterwards they are as they were."""
    ended = threading.Event()
    kept = bench.registry.with_name("first-versions")
    shutil.copytree(bench.registry, kept, dirs_exist_ok=True)

    def work() -> None:
        for folder in itertools.cycle((bench.other_versions, kept)):
            for concept_id in bench.ids:
                if ended.wait(1 / bench.settings.new_versions_per_second):
                    return
                replace_file(folder / f"{concept_id}.safetensors", bench.registry)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for concept_id in bench.ids:
            replace_file(kept / f"{concept_id}.safetensors", bench.registry)


def replace_file(source: Path, folder: Path) -> None:
    """A copy under the same name, whole at every moment."""
    partial = folder / f".{source.name}.new"
    shutil.copyfile(source, partial)
    partial.replace(folder / source.name)


SWAPPING = Measurement("swapping", ("swap_step_p99_ratio",), _opened)
