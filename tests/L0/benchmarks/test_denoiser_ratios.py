"""Ratio arithmetic: the right sides are divided, round by round."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.denoiser.ratios import FORMULAS, Ratio, all_ratios
from benchmarks.denoiser.results import Results, Sample
from benchmarks.denoiser.settings import CHUNK, DUELS, SHORT_STEPS
from benchmarks.denoiser.targets import TARGETS

ASKED = {
    "denoiser_over_plain", "request_over_two_stream_n1", "request_over_two_stream_n4",
    "request_over_two_stream_fixed_context", "eager_over_ours_n4", "mixed_over_single", "swap_over_step",
    "cold_load_over_read", "gemm_fraction", "peak_memory_over_weights",
}  # fmt: skip


def results(samples: dict[str, dict[str, list[tuple[float, float]]]]) -> Results:
    taken = {d: {u: [Sample(*pair) for pair in pairs] for u, pairs in units.items()} for d, units in samples.items()}
    return Results(Path("unused"), {}, taken)


def test_ratios_pair_the_rounds() -> None:
    found = all_ratios(
        results({"plain": {"ours.denoiser_n1": [(2, 4), (9, 12), (3, 4)], "plain_ort.step": [(1, 2), (3, 3), (2, 8)]}})
    )["denoiser_over_plain"]
    assert found.samples == (2, 3, 1.5)
    assert found.cpu_samples == (2, 4, 0.5)
    assert (found.value, found.spread) == (2, (1.5, 3))


def test_a_request_is_a_step_and_its_share_of_the_references() -> None:
    n1 = {
        "ours.denoiser_n1": [(10.0, 10.0)],
        "ours.references": [(CHUNK * 2.0, CHUNK * 2.0)],
        "two_stream_ort.step_n1": [(20.0, 20.0)],
        "ours.request_exact": [(SHORT_STEPS * 12.0, 1.0)],
        "ours.request_fixed": [(SHORT_STEPS * 11.0, 1.0)],
    }
    n4 = {
        "ours.denoiser_n4": [(38.0, 1.0)],
        "ours.references": [(CHUNK * 2.0, 1.0)],
        "two_stream_eager.step_n4": [(100.0, 1.0)],
    }
    found = {key: ratio.value for key, ratio in all_ratios(results({"two_stream_n1": n1, "eager_n4": n4})).items()}
    assert found["request_over_two_stream_n1"] == pytest.approx(0.6)
    assert found["request_over_two_stream_fixed_context"] == pytest.approx(0.5)
    assert found["composition_exact"] == pytest.approx(1.0)
    assert found["composition_fixed_context"] == pytest.approx(1.1)
    assert found["eager_over_ours_n4"] == pytest.approx(100 / 40)


def test_cold_load_is_a_ratio_of_speeds() -> None:
    found = all_ratios(results({"cold_load": {"disk.load": [(2.0, 1.0)], "disk.read": [(1.0, 0.1)]}}))
    assert found["cold_load_over_read"].value == 0.5
    assert found["cold_load_over_read"].cpu_samples == ()


def test_a_round_without_its_other_side_is_left_out() -> None:
    found = all_ratios(results({"plain": {"ours.denoiser_n1": [(2, 2), (2, 2)], "plain_ort.step": [(1, 1)]}}))
    assert found["denoiser_over_plain"].samples == (2,)
    assert not all_ratios(results({"plain": {"ours.denoiser_n1": [(2, 2)]}}))


def test_figures_from_facts() -> None:
    made = results({"plain": {"plain_ort.step": [(2.0, 2.0)], "gemm.peak": [(1.0, 1.0)]}})
    made.facts["flops"] = {"plain_per_row": 60.0, "denoiser_per_row": 70.0, "gemm": 100.0}
    made.facts["memory"] = [{"peak_bytes": 150, "cache_bytes": 50, "weight_bytes": 80}]
    found = all_ratios(made)
    assert found["gemm_fraction"].value == pytest.approx(0.6)
    assert found["peak_memory_over_weights"].value == pytest.approx(1.25)


def test_every_formula_reads_units_of_its_duel() -> None:
    units = {duel.name: {unit.name for unit in duel.units} for duel in DUELS}
    for key, (duel, formula) in FORMULAS.items():
        asked: set[str] = set()

        def clock(unit: str, asked: set[str] = asked) -> float:
            asked.add(unit)
            return 1.0

        formula(clock)
        assert asked <= units[duel], key


def test_the_issues_keys_are_there_and_have_targets() -> None:
    assert FORMULAS.keys() | {"gemm_fraction", "peak_memory_over_weights"} >= ASKED
    assert TARGETS.keys() >= ASKED


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9))
def test_the_value_lies_in_the_spread(samples: list[float]) -> None:
    ratio = Ratio(tuple(samples))
    low, high = ratio.spread
    assert low <= ratio.value <= high
    assert ratio.to_json()["samples"] == samples
