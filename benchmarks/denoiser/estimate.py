"""How long it will take, said before it starts."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.denoiser.results import Results
from benchmarks.denoiser.settings import Duel, Settings

GEMM_SHARE = 0.6
"""Of the matrix product's speed that a U-Net is expected to reach."""
_SLOWER = {"plain_eager": 1.4, "two_stream_eager": 1.4, "plain_compile": 1.4}
_LOAD_SECONDS_PER_GFLOP = {"plain_compile": 0.4, "plain_openvino": 0.15}
_LOAD_DEFAULT = 0.04
_FIXED_SECONDS = 0.5


def unit_seconds(contender: str, rows: float, flops_per_row: float, gemm_flops_per_second: float) -> float:
    """One run of a unit."""
    return _FIXED_SECONDS + _SLOWER.get(contender, 1) * rows * flops_per_row / (GEMM_SHARE * gemm_flops_per_second)


def planned(
    duels: Iterable[Duel], settings: Settings, results: Results, flops_per_row: float, gemm_flops_per_second: float
) -> dict[str, float]:
    """Seconds by duel: the rounds that are missing, and loading."""
    seconds: dict[str, float] = {}
    alive: set[str] = set()
    for duel in duels:
        missing = {
            unit: max(0, settings.rounds - len(results.of(duel.name, unit.name)))
            for unit in duel.units
            if unit.contender not in results.failures
        }
        seconds[duel.name] = sum(
            count * unit_seconds(unit.contender, unit.rows, flops_per_row, gemm_flops_per_second)
            for unit, count in missing.items()
        )
        needed = {unit.contender for unit, count in missing.items() if count}
        loads = needed - alive
        seconds[duel.name] += sum(
            _LOAD_SECONDS_PER_GFLOP.get(name, _LOAD_DEFAULT) * flops_per_row / 1e9 for name in loads
        )
        alive = needed
    return seconds
