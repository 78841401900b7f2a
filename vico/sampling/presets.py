"""How much a picture may cost, by name: sampler, steps, and where guidance is worth its second row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vico.errors import SamplerError
from vico.sampling.step import Step


@dataclass(frozen=True)
class GuidanceInterval:
    """Guide only where low < sigma / alpha <= high (arXiv 2404.07724); elsewhere the positive prompt alone is asked.

    Raises:
        SamplerError: the interval is empty or not of numbers.
    """

    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise SamplerError("guidance_interval", f"({self.low}, {self.high}]", "0 <= low < high")

    def contains(self, step: Step) -> bool:
        """Whether the step is guided."""
        return self.low < step.noise_level <= self.high


ALWAYS = GuidanceInterval()


@dataclass(frozen=True)
class Preset:
    """What a request takes where it names nothing else."""

    sampler: str
    steps: int
    guidance_interval: GuidanceInterval = ALWAYS


DEFAULT_PRESET = "quality"
PRESETS: Mapping[str, Preset] = {
    "quality": Preset("dpmpp_2m", 25),
    "balanced": Preset("dpmpp_2m", 12),
    "fast": Preset("dpmpp_2m", 8),
}
"""By the name a request gives; the first is the default. `python -m benchmarks.presets` measures them."""
