"""Small arithmetic in place of the graphs: every row is computed by itself, and depends on all that belongs to it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.ahead import FeatureWorker
from serving.bank import SlotBank
from serving.engine import Engine, EngineOptions
from serving.lane import ConceptUse, LaneSpec
from serving.references import ReferenceFeatures
from serving.runner import Feeds, Results
from tests.helpers.concepts import BASE_DIGEST, SITES, make_concept
from vico.concept import ConceptPackage, GraphSet, GraphSpec, TokenizerSpec, read_package
from vico.sampling import NoiseSchedule, initial_noise, make_plan

WIDTH = 6
SCHEDULE = NoiseSchedule()
GRAPHSET = GraphSet(
    base_digest=BASE_DIGEST,
    base_name="fake",
    tokenizer=TokenizerSpec(bos_id=98, eos_id=99, pad_id=99, placeholder_id=1),
    schedule=SCHEDULE,
    sites=SITES,
    graphs={"denoiser": GraphSpec(file="graphs/denoiser/x/model.onnx", digest="0" * 64)},
    targets={"onnx": {"denoiser": GraphSpec(file="graphs/denoiser/x/1.onnx", digest="1" * 64)}},
    context_width=WIDTH,
    vae_factor=8,
    size_multiple=16,
    default_size=32,
    max_size=64,
)


class FakeDenoiser:
    """`denoiser`: a row's noise from its own latent, timestep, context, slot, guidance and kept reference tokens."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, feeds: Feeds) -> Results:
        self.batches.append(len(feeds["latent"]))
        rows = [self._row(feeds, b) for b in range(len(feeds["latent"]))]
        return {"noise": np.stack(rows).astype(np.float32)}

    def _row(self, feeds: Feeds, b: int) -> npt.NDArray[np.float32]:
        latent = feeds["latent"][b]
        noise = np.tanh(latent + feeds["context"][b].mean()) * np.cos(feeds["timestep"][b] / 100.0)
        for i in range(len(SITES)):
            kept = feeds[f"reference_features.{i}"][b][feeds[f"reference_mask.{i}"][b] > 0.5]
            weight = feeds[f"image_attention.{i}.attn2.to_q.weight"][feeds["slot"][b]]
            noise = noise + feeds["image_guidance"][b] * kept.mean() * weight.sum() * np.float32(0.1)
        row: npt.NDArray[np.float32] = noise
        return row


class FakeReferenceEncoder:
    """`reference_encoder`: features and a mask of every row from all of its inputs."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, feeds: Feeds) -> Results:
        self.batches.append(len(feeds["latent"]))
        results: Results = {}
        for i, site in enumerate(SITES):
            rows = [self._row(feeds, b, site.channels) for b in range(len(feeds["latent"]))]
            results[f"reference_features.{i}"] = np.stack(rows)
            results[f"reference_mask.{i}"] = np.stack([(row[:, 0] > 0).astype(np.float32) for row in rows])
        return results

    def _row(self, feeds: Feeds, b: int, channels: int) -> npt.NDArray[np.float32]:
        tokens = feeds["latent"][b].reshape(4, -1).T  # [h·w, 4]
        mixed = tokens.sum(axis=1) + feeds["context"][b].sum() + feeds["placeholder_position"][b]
        angle = mixed[:, None] * (1 + np.arange(channels)) + feeds["timestep"][b]
        row: npt.NDArray[np.float32] = np.sin(angle).astype(np.float32)
        return row


class Failing:
    """A runner whose graph breaks."""

    def run(self, feeds: Feeds) -> Results:
        raise RuntimeError("/secret/path: the graph broke")


class Concepts:
    """Packages by digest, as a store gives them; counts the loads."""

    def __init__(self, folder: Path, count: int) -> None:
        packages = [read_package(make_concept(folder, f"c{k}", seed=k)) for k in range(count)]
        self.packages = {package.digest: package for package in packages}
        self.digests = [package.digest for package in packages]
        self.loads: list[str] = []

    def load(self, digest: str) -> ConceptPackage:
        self.loads.append(digest)
        return self.packages[digest]


def make_engine(
    load: Any,
    slots: int = 2,
    max_lanes: int = 4,
    denoiser: Any = None,
    reference_bytes: int = 2**20,
    *,
    encoder: Any = None,
    threads: bool = False,
    options: EngineOptions = EngineOptions(),  # noqa: B008 - frozen
    clock: Any = time.monotonic,
) -> Engine:
    """With `threads` packages and features are prepared beside the engine, which then wants `close`."""
    references = ReferenceFeatures(
        encoder or FakeReferenceEncoder(), len(SITES), reference_bytes, lookahead=1 if threads else 3, max_rows=5
    )
    return Engine(
        denoiser or FakeDenoiser(),
        references,
        SlotBank(SITES, slots),
        load,
        SITES,
        max_lanes,
        options,
        clock,
        executor=ThreadPoolExecutor(2) if threads else None,
        ahead=FeatureWorker(references, lookahead=3, max_rows=5) if threads else None,
        beside=ThreadPoolExecutor(1) if threads else None,
    )


def make_spec(
    seed: int = 0,
    steps: int = 4,
    sampler: str = "dpmpp_2m",
    guidance_scale: float = 7.5,
    side: int = 4,
    digest: str = "",
    image_guidance: float = 1.0,
    references: int = 1,
    fixed_context: bool = False,
    negative: float = 1.0,
) -> LaneSpec:
    random = np.random.default_rng(seed)
    latents = random.standard_normal((references, 4, 4, 4)).astype(np.float32)
    context = random.standard_normal((2, 77, WIDTH)).astype(np.float32)
    read = context[1:].repeat(2, axis=0) if fixed_context else context
    concept = (
        ConceptUse(digest, (negative * image_guidance, image_guidance), latents, read, position=3) if digest else None
    )
    noise = initial_noise(seed, 0, (4, side, side))
    return LaneSpec(make_plan(sampler, steps, SCHEDULE), noise, context, guidance_scale, concept)
