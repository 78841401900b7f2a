"""Ten thousand swaps and two thousand pictures through one server: `python -m benchmarks.soak --json FILE`.

`vico serve` with two slots, six users, and somebody who replaces, tears and alters the packages in its registry. Every
answer is held against the picture that its version gave before (A → B → A, torn writes), and the memory of each process
is looked at throughout; it must not grow by 3 %. The file is saved every ten seconds, so that a run that is stopped
leaves what it saw (`complete` false); it is not gone on with, as memory belongs to one server's life. A quarter of an
hour on the toy base on two idle cores, by estimate. Exit code 1: a wrong picture, an error, or growth.
"""

from __future__ import annotations

import json as json_module
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from vico_client import Client, Retry

from benchmarks.serving.prepared import ROOT, concept_ids, make_concepts, toy_graphs
from benchmarks.serving.results import BenchmarkError
from benchmarks.serving.running import running
from benchmarks.soak.checks import Judge, Swapper
from benchmarks.soak.memory import Sample, growth, look
from benchmarks.soak.settings import MAX_GROWTH, Soak
from benchmarks.soak.work import Work
from vico.concept import read_graphset
from vico.concept.atomic import write_atomically
from vico.errors import VicoError


def main(
    json: Annotated[Path, typer.Option("--json", help="File for what was seen.")],
    graphs: Annotated[
        Path | None, typer.Option(help="Folder made by `vico export` [default: the toy base's, exported once].")
    ] = None,
    package: Annotated[Path | None, typer.Option(help="A trained concept that all are made of.")] = None,
    swaps: Annotated[int, typer.Option(min=1, help="Concepts written to a slot.")] = Soak.swaps,
    images: Annotated[int, typer.Option(min=1, help="Pictures of several steps.")] = Soak.images,
) -> None:
    """Run until both counts are reached."""
    soak = Soak(swaps, images)
    graphs = graphs or toy_graphs(ROOT / "runs" / "toy-graphs")
    with tempfile.TemporaryDirectory(prefix="vico-soak-") as folder:
        registry, first, second = (Path(folder) / name for name in ("registry", "first", "second"))
        ids = concept_ids(soak.concepts)
        for version, place in enumerate((first, second)):
            make_concepts(graphs, place, ids, package, version)
        registry.mkdir()
        # bounds so small that every cache is full after the first tenth of the work
        bounds = ("--slots", str(soak.slots), "--host-mib", "16", "--reference-mib", "32")
        with (
            running(graphs, registry, *bounds) as server,
            Client(server.address, timeout=600, retry=Retry(attempts=None)) as client,
        ):
            swapper = Swapper(client, Judge(), registry, (first, second), ids)
            swapper.learn((1, soak.picture_steps))
            with Work(soak, server, swapper.judge, swapper) as work:
                seen = _watch(work, json, read_graphset(graphs).base_name)
    raise SystemExit(0 if _passed(seen) else 1)


def _watch(work: Work, file: Path, base: str) -> dict[str, Any]:
    """Look at the memory and save, until the work is done."""
    samples: list[Sample] = []
    began = saved = time.monotonic()
    while True:
        progress = work.progress
        samples.append(look(work.server.pid, progress))
        seen = _seen(work, samples, base, time.monotonic() - began)
        if progress >= 1.0 or time.monotonic() - saved >= work.soak.save_seconds:
            saved = time.monotonic()
            write_atomically(file, as_text(seen).encode())
            told = f"{work.swaps} swaps, {work.images} pictures, {samples[-1].total / 2**20:.0f} MiB"
            print(f"{progress:4.0%}  {told}, {len(work.judge.wrong)} wrong, {work.errors.total()} errors", flush=True)
        if progress >= 1.0:
            return seen
        work.server.require_alive()
        if work.stopped:
            raise BenchmarkError("soak", "a user ended by itself", "a look at what was printed")
        time.sleep(work.soak.sample_seconds)


def as_text(seen: dict[str, Any]) -> str:
    """What was seen as JSON, a line for each look at the memory, which stand last."""
    looks = ",\n".join(f"  {json_module.dumps(look)}" for look in seen["samples"])
    rest = json_module.dumps({key: value for key, value in seen.items() if key != "samples"}, indent=1)
    return rest.removesuffix("\n}") + ',\n "samples": [\n' + looks + "\n ]\n}\n"


def _seen(work: Work, samples: list[Sample], base: str, seconds: float) -> dict[str, Any]:
    grown = growth(samples)
    return {
        "memory_growth": {"value": grown.get("total"), "by_process": grown},
        "complete": work.progress >= 1.0,
        "swaps": work.swaps,
        "images": work.images,
        "compared": work.judge.compared,
        "replaced": work.swapper.replaced,
        "torn": work.swapper.torn,
        "wrong": work.judge.wrong,
        "errors": dict(work.errors),
        "seconds": round(seconds, 1),
        "base": base,
        "cores": os.cpu_count(),
        "settings": work.soak.identity(),
        "samples": [[round(one.progress, 4), one.bytes] for one in samples],
    }


def _passed(seen: dict[str, Any]) -> bool:
    grown = seen["memory_growth"]["value"]
    print(f"memory grew by {grown:.2%}" if grown is not None else "too short to tell how memory grew")
    for problem in [*seen["wrong"], *seen["errors"]]:
        print("wrong:", problem)
    return grown is not None and grown < MAX_GROWTH and not seen["wrong"] and not seen["errors"]


if __name__ == "__main__":
    try:
        typer.run(main)
    except VicoError as error:
        raise SystemExit(f"error {error}") from None
