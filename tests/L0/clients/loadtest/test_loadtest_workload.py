"""The workload file: what it draws, and what it refuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vico_client.loadtest.distributions import Choice, LogNormal, Uniform
from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.popularity import expand, zipf
from vico_client.loadtest.workload import Drawer, Workload, read_workload

RANDOM_SEEDS = st.integers(0, 2**32)


def _workload(tmp_path: Path, **sections: str) -> Workload:
    path = tmp_path / "workload.toml"
    top = 'prompts = ["a *"]\nplain_prompts = ["a dog"]\n' + sections.pop("top", "")
    path.write_text(top + "".join(f"[{name}]\n{text}\n" for name, text in sections.items()))
    return read_workload(path)


def _draws(workload: Workload, count: int = 2000, **stream: int) -> list[Any]:
    drawer = Drawer(workload, seed=1, **stream)
    return [drawer.next() for _ in range(count)]


def test_the_shipped_workload_draws_sendable_requests() -> None:
    drawn = _draws(read_workload(), 100)
    assert {draw.fields["prompt"] for draw in drawn} <= set(read_workload().plain_prompts)  # no concepts are named
    assert all(10 <= draw.deadline <= 60 for draw in drawn)
    assert {draw.fields["num_images"] for draw in drawn} == {1, 2, 4}


@given(count=st.integers(1, 200), exponent=st.floats(0, 3))
@settings(deadline=None, max_examples=50)
def test_zipf_adds_up_and_falls(count: int, exponent: float) -> None:
    shares = zipf(count, exponent)
    assert shares.sum() == pytest.approx(1)
    assert (np.diff(shares) <= 1e-12).all()
    assert shares[0] / shares[-1] == pytest.approx(count**exponent)


def test_concepts_are_asked_for_by_popularity(tmp_path: Path) -> None:
    workload = _workload(tmp_path, concepts='ids = ["toy-{0..9}"]\nexponent = 1.0\nplain_share = 0.25')
    counts = Counter(draw.fields.get("concept", "") for draw in _draws(workload, 8000))
    assert counts[""] / 8000 == pytest.approx(0.25, abs=0.02)
    expected = 6000 * zipf(10, 1.0)
    assert [counts[f"toy-{rank}"] for rank in range(10)] == pytest.approx(expected.tolist(), rel=0.15)


def test_uniform_popularity(tmp_path: Path) -> None:
    workload = _workload(tmp_path, concepts='ids = ["a", "b", "c"]\npopularity = "uniform"')
    counts = Counter(draw.fields["concept"] for draw in _draws(workload, 6000))
    assert all(count == pytest.approx(2000, rel=0.1) for count in counts.values())


def test_cold_concepts_come_in_turn_and_are_cold_once(tmp_path: Path) -> None:
    workload = _workload(tmp_path, concepts='ids = ["warm"]\ncold_ids = ["cold-{0..59}"]\ncold_share = 0.1')
    streams = [[draw for draw in _draws(workload, 150, stream=k, streams=2) if draw.cold] for k in range(2)]
    asked = [draw.fields["concept"] for stream in streams for draw in stream]
    assert len(asked) == pytest.approx(30, abs=12)
    assert len(set(asked)) == len(asked)
    assert streams[0][0].fields["concept"] == "cold-0"
    assert streams[1][0].fields["concept"] == "cold-1"


def test_fields_and_sizes_are_drawn(tmp_path: Path) -> None:
    workload = _workload(
        tmp_path,
        fields="steps = {uniform = [2, 4]}\nsize = {choice = [[64, 32], [32, 32]]}\n"
        "priority = 7\nimage_guidance = {uniform = [0.5, 1.0]}",
    )
    drawn = [draw.fields for draw in _draws(workload, 200)]
    assert {fields["steps"] for fields in drawn} == {2, 3, 4}
    assert {(fields["height"], fields["width"]) for fields in drawn} == {(64, 32), (32, 32)}
    assert {fields["priority"] for fields in drawn} == {7}
    assert all(0.5 <= fields["image_guidance"] <= 1.0 for fields in drawn)


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"top": "prompt = 1"}, "workload.prompt"),
        ({"top": "deadline = 0"}, "deadline"),
        ({"top": 'deadline = "soon"'}, "deadline"),
        ({"fields": "stepz = 3"}, "fields.stepz"),
        ({"fields": "steps = 2.5"}, "fields.steps"),
        ({"fields": 'steps = {choice = [3, "many"]}'}, "fields.steps"),
        ({"fields": "guidance_scale = {uniform = [2.0, 1.0]}"}, "uniform"),
        ({"fields": "steps = {choice = [1, 2], weights = [1]}"}, "weights"),
        ({"fields": "size = 64"}, "fields.size"),
        ({"fields": 'size = [64, "wide"]'}, "fields.size"),
        ({"fields": 'concept = "toy"'}, "fields.concept"),
        ({"concepts": "cold_share = 0.5"}, "cold_ids"),
        ({"concepts": 'cold_ids = ["a"]\ncold_share = 0.5\nplain_share = 0.6'}, "cold_share"),
        ({"concepts": 'popularity = "viral"'}, "concepts.popularity"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, sections: dict[str, str], place: str) -> None:
    with pytest.raises(LoadTestError) as caught:
        _workload(tmp_path, **sections)
    assert place in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("= 3")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name in ("bad.toml", "binary.toml", "absent.toml"):
        with pytest.raises(LoadTestError, match="workload"):
            read_workload(tmp_path / name)


def test_ranges_of_ids() -> None:
    assert expand(["a", "toy-{8..10}", "{0..1}{0..1}"]) == ["a", "toy-8", "toy-9", "toy-10", "00", "01", "10", "11"]


@given(low=st.integers(-50, 50), more=st.integers(0, 50), seed=RANDOM_SEEDS)
@settings(deadline=None, max_examples=50)
def test_uniform_whole_numbers_include_both_ends(low: int, more: int, seed: int) -> None:
    value = Uniform(uniform=(low, low + more)).draw(np.random.default_rng(seed))
    assert isinstance(value, int)
    assert low <= value <= low + more


@given(median=st.floats(0.01, 100), sigma=st.floats(0, 3), seed=RANDOM_SEEDS)
@settings(deadline=None, max_examples=50)
def test_lognormal_stays_within_its_limits(median: float, sigma: float, seed: int) -> None:
    given_ = {"median": median, "sigma": sigma, "low": median / 2, "high": median * 2}
    value = LogNormal.model_validate({"lognormal": given_}).draw(np.random.default_rng(seed))
    assert median / 2 <= value <= median * 2


def test_weights_of_a_choice() -> None:
    random = np.random.default_rng(0)
    choice = Choice(choice=["a", "b", "c"], weights=[1, 3, 0])
    counts = Counter(choice.draw(random) for _ in range(4000))
    assert counts["b"] / counts["a"] == pytest.approx(3, rel=0.15)
    assert counts["c"] == 0
