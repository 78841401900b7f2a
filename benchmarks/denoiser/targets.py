"""What the ratios are held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.denoiser.ratios import Ratio


@dataclass(frozen=True)
class Target:
    """A bound on a ratio's median."""

    bound: float
    at_least: bool = False
    """The bound is a lower one."""

    def met(self, ratio: Ratio) -> bool:
        """Whether the median keeps the bound."""
        return ratio.value >= self.bound if self.at_least else ratio.value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


TARGETS: Mapping[str, Target] = {
    "denoiser_over_plain": Target(1.18),
    "request_over_two_stream_n1": Target(0.78),
    "request_over_two_stream_n4": Target(0.61),
    "request_over_two_stream_fixed_context": Target(0.56),
    "eager_over_ours_n4": Target(2.4, at_least=True),
    "eager_over_ours_n4_fixed_context": Target(2.7, at_least=True),
    "mixed_over_single": Target(1.05),
    "swap_over_step": Target(0.01),
    "cold_load_over_read": Target(0.7, at_least=True),
    "peak_memory_over_weights": Target(1.25),
    "gemm_fraction": Target(0.6, at_least=True),
}
"""Of issue 4, at the SD-1.5 architecture and latent 64."""
