"""Contenders on ONNX Runtime: the runner that serves, so that options are the served ones."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.denoiser.feeds import Feeds, bank_feeds, step_feeds
from benchmarks.denoiser.graphs import plain_signature, two_stream_signature
from benchmarks.denoiser.prepared import Prepared, read_prepared
from benchmarks.denoiser.requests import Requests
from benchmarks.denoiser.settings import CHUNK, LANES, Settings
from benchmarks.denoiser.worker import Action
from export.signatures import Signature, signatures
from serving.bank import SlotBank
from serving.batch import RUN_PIXELS
from serving.config import ServingConfig
from serving.runner import Runner, open_runner
from serving.runners.onnx_cpu import OnnxCpuRunner
from vico.concept import read_graphset, read_package
from vico.concept.graphset import GraphName


class _OneGraph:
    """A graph of the benchmark's own, at some numbers of rows."""

    def __init__(self, settings: Settings, prepared: Prepared, path: Path, signature: Signature) -> None:
        self._settings, self._prepared, self._signature = settings, prepared, signature
        self._runner = OnnxCpuRunner(path, settings.threads)
        self._warm()

    def _warm(self) -> None:
        self._runner.run(self._feeds(1))

    def _feeds(self, rows: int) -> Feeds:
        return step_feeds(self._signature, self._prepared, rows, self._settings.latent)

    def _step(self, rows: int) -> Action:
        feeds = self._feeds(rows)
        return lambda: self._runner.run(feeds)


class PlainOrt(_OneGraph):
    """Plain Stable Diffusion."""

    def __init__(self, settings: Settings) -> None:
        prepared = read_prepared(settings)
        super().__init__(settings, prepared, prepared.plain, plain_signature(prepared.geometry))

    def prepare(self, work: str) -> Action:
        """One step of one picture with guidance."""
        return self._step(2)


class TwoStreamOrt(_OneGraph):
    """Two-stream ViCo. A row of its graph is two of the U-Net: the picture's and the reference's."""

    def __init__(self, settings: Settings) -> None:
        prepared = read_prepared(settings)
        super().__init__(settings, prepared, prepared.two_stream, two_stream_signature(prepared.geometry))

    def prepare(self, work: str) -> Action:
        """`step_n1` or `step_n4`: one step of so many pictures with guidance."""
        return self._step(2 * int(work.removeprefix("step_n")))


class Ours:
    """The served graphs: denoiser, reference encoder, bank; and short requests through the engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._prepared = settings, read_prepared(settings)
        self._graphset = read_graphset(self._prepared.graphset)
        self._signatures = signatures(self._prepared.geometry)
        self._banks: dict[int, Feeds] = {}
        self._denoiser = self._open("denoiser")
        self._denoiser.run(self._denoiser_feeds(1))

    def prepare(self, work: str) -> Action:
        """A key of `settings.DUELS` under "ours"."""
        match work.split("_"):
            case ["denoiser", images]:
                return self._in_runs([0] * (2 * int(images.removeprefix("n"))), slots=1)
            case ["lanes", kind]:
                # one row a lane; the slots are all that differs
                return self._in_runs(list(range(LANES)) if kind == "mixed" else [0] * LANES, slots=LANES)
            case ["references"]:
                # opened here, where no clock runs
                feeds, references = self._feeds("reference_encoder", CHUNK), self._references
                return lambda: references.run(feeds)
            case ["request", mode]:
                return self._requests.prepare(fixed=mode == "fixed")
            case ["swap"]:
                return self._swap()
        raise ValueError(f"no such work: {work}")

    @cached_property
    def _references(self) -> Runner:
        runner = self._open("reference_encoder")
        runner.run(self._feeds("reference_encoder", 1))
        return runner

    @cached_property
    def _requests(self) -> Requests:
        return Requests(self._settings, self._prepared, self._denoiser, self._references)

    def _swap(self) -> Action:
        """A concept in host memory takes the only slot of a bank from another one."""
        packages = [read_package(path) for path in self._prepared.concepts]
        bank = SlotBank(self._graphset.sites, 1)
        bank.acquire(packages[0].digest, lambda digest: packages[0])
        bank.release(packages[0].digest)
        return lambda: bank.acquire(packages[1].digest, lambda digest: packages[1])

    def _open(self, name: GraphName) -> Runner:
        config = ServingConfig(self._prepared.graphset, self._settings.work, threads=self._settings.threads)
        return open_runner(config, self._graphset, name)

    def _feeds(self, name: GraphName, rows: int) -> Feeds:
        return step_feeds(self._signatures[name], self._prepared, rows, self._settings.latent)

    def _denoiser_feeds(self, rows: int, slots: int = 1) -> Feeds:
        if slots not in self._banks:
            # one at a time: eight slots of Stable Diffusion 1.5 are 1.6 GB
            self._banks = {slots: bank_feeds(self._signatures["denoiser"], self._prepared, slots)}
        return self._feeds("denoiser", rows) | self._banks[slots]

    def _in_runs(self, rows: list[int], slots: int) -> Action:
        """A step of rows given by their slots, in runs as they are served."""
        most = max(1, RUN_PIXELS // self._settings.latent**2)
        parts = [np.array(rows[start : start + most], np.int64) for start in range(0, len(rows), most)]
        feeds = [self._denoiser_feeds(len(part), slots) | {"slot": part} for part in parts]
        return lambda: [self._denoiser.run(one) for one in feeds]
