"""The contenders by name. Imported lazily: no process loads a runtime that it does not run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from benchmarks.denoiser.settings import Settings
from benchmarks.denoiser.worker import Contender


@dataclass(frozen=True)
class LazyFactory:
    """Makes a contender in the process that calls it."""

    module: str
    name: str

    def __call__(self, settings: Settings) -> Contender:
        """Load the contender."""
        made: Contender = getattr(import_module(f"benchmarks.denoiser.{self.module}"), self.name)(settings)
        return made


CONTENDERS: Mapping[str, LazyFactory] = {
    "ours": LazyFactory("ort_contenders", "Ours"),
    "plain_ort": LazyFactory("ort_contenders", "PlainOrt"),
    "two_stream_ort": LazyFactory("ort_contenders", "TwoStreamOrt"),
    "plain_eager": LazyFactory("torch_contenders", "PlainEager"),
    "plain_compile": LazyFactory("torch_contenders", "PlainCompiled"),
    "plain_openvino": LazyFactory("openvino_contender", "PlainOpenvino"),
    "two_stream_eager": LazyFactory("torch_contenders", "TwoStreamEager"),
    "gemm": LazyFactory("small_contenders", "Gemm"),
    "disk": LazyFactory("small_contenders", "Disk"),
    "bank": LazyFactory("bank_contender", "Bank"),
}
