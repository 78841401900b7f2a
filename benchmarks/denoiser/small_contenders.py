"""Contenders without a model: the machine's matrix product, and its disk."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.denoiser.prepared import read_prepared
from benchmarks.denoiser.settings import Settings
from benchmarks.denoiser.worker import Action, timed
from serving.concepts.store import ConceptStore
from vico.concept import read_package

_READ_BYTES = 2**22


class Gemm:
    """A float32 product of square matrices in the library that is fastest here: the peak that a U-Net is held to."""

    def __init__(self, settings: Settings) -> None:
        import torch

        torch.set_num_threads(settings.threads)
        random = np.random.default_rng(0)
        a, b = (random.standard_normal((settings.gemm_side, settings.gemm_side), np.float32) for _ in range(2))
        tensors = torch.from_numpy(a), torch.from_numpy(b)
        ways: list[Action] = [lambda: a @ b, lambda: tensors[0] @ tensors[1]]
        for way in ways:
            way()
        self._best = min(ways, key=lambda way: timed(way).wall)

    def prepare(self, work: str) -> Action:
        """One product."""
        return self._best


class Disk:
    """A concept from disk, not in the page cache, against reading the same number of bytes."""

    def __init__(self, settings: Settings) -> None:
        prepared = read_prepared(settings)
        # two files of one size: what was read by one is not in the cache for the other
        self._loaded, self._read = prepared.concepts
        package = read_package(self._loaded)
        self._folder = settings.work / "store"
        self._digest = package.digest
        ConceptStore(self._folder, 0).adopt(partial(shutil.copyfile, self._loaded), lambda *_: None)

    def prepare(self, work: str) -> Action:
        """`load`: as the engine does when a concept is not resident, verified. `read`: the file and nothing else."""
        if work == "read":
            forget(self._read)
            return lambda: _read(self._read)
        forget(self._folder / f"{self._digest}.safetensors")
        store = ConceptStore(self._folder, 2**33)
        return lambda: store.open(self._digest)


def forget(path: Path) -> None:
    """Take a file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _read(path: Path) -> None:
    """As fast as reading goes: unbuffered, into one small buffer."""
    buffer = bytearray(_READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
