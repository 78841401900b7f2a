"""From samples to ratios. A ratio's two sides are of one duel and one round, so that they saw the same machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.denoiser.results import Results
from benchmarks.denoiser.settings import CHUNK, SHORT_STEPS

Clock = Callable[[str], float]
"""Seconds of a unit in one round of a duel."""


@dataclass(frozen=True)
class Ratio:
    """A figure with what it was made of."""

    samples: tuple[float, ...]
    cpu_samples: tuple[float, ...] = ()
    """The same by CPU time instead of wall time; empty where that says nothing."""

    @property
    def value(self) -> float:
        """The median."""
        return median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and greatest."""
        return min(self.samples), max(self.samples)

    def to_json(self) -> dict[str, Any]:
        """As the result file holds it."""
        cpu = {"cpu_value": median(self.cpu_samples), "cpu_samples": list(self.cpu_samples)} if self.cpu_samples else {}
        return {"value": self.value, "spread": list(self.spread), "samples": list(self.samples), **cpu}


def _reference_row(clock: Clock) -> float:
    """One timestep of one context of the reference stream."""
    return clock("ours.references") / CHUNK


def _request_n1(clock: Clock) -> float:
    """Exact mode, one picture, per step: the negative half's features are known from requests before."""
    return clock("ours.denoiser_n1") + _reference_row(clock)


def _request_n4(clock: Clock) -> float:
    return clock("ours.denoiser_n4") + _reference_row(clock)


def _over(numerator: str, denominator: str) -> Callable[[Clock], float]:
    return lambda clock: clock(numerator) / clock(denominator)


FORMULAS: Mapping[str, tuple[str, Callable[[Clock], float]]] = {
    "denoiser_over_plain": ("plain", _over("ours.denoiser_n1", "plain_ort.step")),
    "request_over_two_stream_n1": ("two_stream_n1", lambda c: _request_n1(c) / c("two_stream_ort.step_n1")),
    "request_over_two_stream_n4": ("two_stream_n4", lambda c: _request_n4(c) / c("two_stream_ort.step_n4")),
    "request_over_two_stream_fixed_context": (
        "two_stream_n1",
        _over("ours.denoiser_n1", "two_stream_ort.step_n1"),
    ),
    "eager_over_ours_n4": ("eager_n4", lambda c: c("two_stream_eager.step_n4") / _request_n4(c)),
    "eager_over_ours_n4_fixed_context": ("eager_n4", _over("two_stream_eager.step_n4", "ours.denoiser_n4")),
    "mixed_over_single": ("lanes", _over("ours.lanes_mixed", "ours.lanes_single")),
    "swap_over_step": ("swap", _over("ours.swap", "ours.denoiser_n1")),
    # as speeds: loading's share of the speed of reading
    "cold_load_over_read": ("cold_load", _over("disk.read", "disk.load")),
    # whole short requests through the engine over what their parts cost: 1 says that the composition holds
    "composition_exact": (
        "two_stream_n1",
        lambda c: c("ours.request_exact") / (SHORT_STEPS * _request_n1(c)),
    ),
    "composition_fixed_context": (
        "two_stream_n1",
        lambda c: c("ours.request_fixed") / (SHORT_STEPS * c("ours.denoiser_n1")),
    ),
    "plain_eager_over_ort": ("eager", _over("plain_eager.step", "plain_ort.step")),
    "plain_compile_over_ort": ("compile", _over("plain_compile.step", "plain_ort.step")),
    "plain_openvino_over_ort": ("openvino", _over("plain_openvino.step", "plain_ort.step")),
    **{
        f"bank_over_{form}_b{rows}": ("bank", _over(f"bank.bank_b{rows}", f"bank.{form}_b{rows}"))
        for form in ("lanes", "fixed")
        for rows in (1, 2, 4, 8)
    },
}
"""Key → the duel it is taken from, and what is divided by what."""

# waiting for the disk is no CPU time
_WALL_ONLY = {"cold_load_over_read"}


def all_ratios(results: Results) -> dict[str, Ratio]:
    """Every ratio whose duel has been measured, at least one round."""
    found: dict[str, Ratio] = {}
    for key, (duel, formula) in FORMULAS.items():
        wall = _rounds(results, duel, formula, "wall")
        if wall:
            found[key] = Ratio(wall, () if key in _WALL_ONLY else _rounds(results, duel, formula, "cpu"))
    return found | _from_facts(results)


def _rounds(results: Results, duel: str, formula: Callable[[Clock], float], kind: str) -> tuple[float, ...]:
    """The formula in every round that all of its units were measured in."""
    values = []
    for index in range(max((len(taken) for taken in results.samples.get(duel, {}).values()), default=0)):

        def clock(unit: str, index: int = index) -> float:
            return float(getattr(results.of(duel, unit)[index], kind))

        try:
            values.append(formula(clock))
        except (IndexError, ZeroDivisionError):
            continue
    return tuple(values)


def _from_facts(results: Results) -> dict[str, Ratio]:
    found: dict[str, Ratio] = {}
    flops = results.facts.get("flops")
    if flops:
        for key, unit, rows in (
            ("gemm_fraction", "plain_ort.step", flops["plain_per_row"]),
            ("gemm_fraction_denoiser", "ours.denoiser_n1", flops["denoiser_per_row"]),
        ):
            share = _gemm_share(results, unit, 2 * rows, flops["gemm"])
            if share:
                found[key] = Ratio(share, _gemm_share(results, unit, 2 * rows, flops["gemm"], "cpu"))
    memory = results.facts.get("memory", [])
    if shares := tuple((m["peak_bytes"] - m["cache_bytes"]) / m["weight_bytes"] for m in memory):
        found["peak_memory_over_weights"] = Ratio(shares)
    return found


def _gemm_share(
    results: Results, unit: str, unit_flops: float, gemm_flops: float, kind: str = "wall"
) -> tuple[float, ...]:
    """Speed of a unit over that of the matrix product measured in the same round."""

    def share(clock: Clock) -> float:
        return (unit_flops / clock(unit)) / (gemm_flops / clock("gemm.peak"))

    return _rounds(results, "plain", share, kind)


def summary(values: Sequence[float]) -> str:
    """Median and spread, for people."""
    return f"{median(values):.3g} ({min(values):.3g}–{max(values):.3g})" if values else "–"
