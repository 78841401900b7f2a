"""Peak memory of serving: all five graphs through the served runner and two resident concepts, in one fresh process.

Free of torch, as serving is. Triton runs the stages in several processes: each adds the interpreter, about 60 MB.
What two graphs map of one file is one piece of memory: so it is the proportional set size that is looked at, once a
second (a look takes the system some fifty milliseconds).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from benchmarks.denoiser.prepared import read_prepared
from benchmarks.denoiser.settings import Settings
from serving.bank import SlotBank
from serving.batch import RUN_PIXELS
from serving.concepts.store import ConceptStore
from serving.config import ServingConfig
from serving.engine import Engine, EngineOptions
from serving.lane import ConceptUse, LaneSpec
from serving.references import ReferenceFeatures
from serving.runner import open_runner
from vico.concept import GraphSet, read_graphset
from vico.sampling import initial_noise, make_plan

_STEPS = 25
_LOOKS_SECONDS = 1.0


class Peak:
    """The greatest proportional set size of this process so far."""

    def __init__(self) -> None:
        self._bytes = 0
        Thread(target=self._watch, daemon=True).start()

    def look(self) -> int:
        """Bytes, this moment included."""
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        self._bytes = max(self._bytes, now)
        return self._bytes

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOKS_SECONDS)
            self.look()


def probe_memory(settings: Settings) -> dict[str, Any]:
    """Bytes: peak, what the caches hold by configuration, and the base's weights.

    Reference features are computed for one timestep: for more they take more runs, and more of their cache.
    """
    arguments = [str(settings.base), str(settings.work), str(settings.latent), str(settings.threads)]
    command = [sys.executable, "-m", "benchmarks.denoiser.memory", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(settings: Settings) -> dict[str, Any]:
    prepared = read_prepared(settings)
    graphset = read_graphset(prepared.graphset)
    config = ServingConfig(graphs=prepared.graphset, registry=settings.work, threads=settings.threads)
    peak = Peak()
    marks: dict[str, int] = {"start": peak.look()}
    caches = _pictures(settings, config, graphset, prepared.concepts, marks, peak.look)
    return {
        "peak_bytes": peak.look(),
        "peak_resident_bytes": _status("VmHWM"),
        "cache_bytes": caches,
        "weight_bytes": prepared.weight_bytes,
        "peak_after": marks,
        "file_backed_bytes": _status("RssFile"),
    }


def _pictures(
    settings: Settings,
    config: ServingConfig,
    graphset: GraphSet,
    concepts: tuple[Path, ...],
    marks: dict[str, int],
    peak: Callable[[], int],
) -> int:
    """One step of two lanes of two concepts, then a decoded picture and an encoded photo and prompt."""
    store = ConceptStore(settings.work / "store", config.host_bytes)
    digests = [store.adopt(_copier(path), lambda package, file: None).digest for path in concepts]
    references = ReferenceFeatures(
        open_runner(config, graphset, "reference_encoder"),
        len(graphset.sites),
        config.reference_bytes,
        lookahead=1,
        max_pixels=RUN_PIXELS,
    )
    denoiser = open_runner(config, graphset, "denoiser")
    bank = SlotBank(graphset.sites, len(digests))
    options = EngineOptions(run_pixels=RUN_PIXELS)
    engine = Engine(denoiser, references, bank, store.open, graphset.sites, len(digests), options)
    marks["loop_loaded"] = peak()
    lanes = [engine.submit(_spec(settings, graphset, digest, k)) for k, digest in enumerate(digests)]
    engine.step()
    latent = lanes[0].state.latent
    marks["loop_ran"] = peak()
    stages: dict[str, Callable[[], dict[str, Any]]] = {
        "text_encoder": lambda: {
            "input_ids": np.zeros((2, 77), np.int64),
            "placeholder_position": np.full((2, 1), -1, np.int64),
            "token_embedding": np.zeros((2, 1, graphset.context_width), np.float32),
        },
        "vae_decoder": lambda: {"latent": latent[None].astype(np.float32)},
        "vae_encoder": lambda: {"image": np.zeros((1, 3, *(2 * (settings.latent * graphset.vae_factor,))), np.float32)},
    }
    for name, feeds_of in stages.items():
        open_runner(config, graphset, name).run(feeds_of())  # type: ignore[arg-type]
        marks[name] = peak()
    held = sum(array.nbytes for array in bank.arrays.values()) + references.cache.size_bytes
    return int(held + sum(store.open(digest).size_bytes for digest in digests))


def _copier(path: Path) -> Callable[[Path], None]:
    def copy(to: Path) -> None:
        shutil.copyfile(path, to)

    return copy


def _spec(settings: Settings, graphset: GraphSet, digest: str, index: int) -> LaneSpec:
    random = np.random.default_rng(index)
    shape = (graphset.latent_channels, settings.latent, settings.latent)
    context = random.standard_normal((2, 77, graphset.context_width)).astype(np.float32)
    concept = ConceptUse(
        digest, (1.0, 1.0), random.standard_normal((1, *shape)).astype(np.float32), context, position=5
    )
    plan = make_plan("dpmpp_2m", _STEPS, graphset.schedule)
    return LaneSpec(plan, initial_noise(index, 0, shape), context, 7.5, concept)


def _status(key: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


if __name__ == "__main__":
    base, work, side, count = sys.argv[1:]
    print(json.dumps(_measure(Settings(Path(base), Path(work), int(side), 1, int(count)))))
