"""Recorded traces: what is read, at which speed, and what is refused with its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vico_client.loadtest.errors import LoadTestError
from vico_client.loadtest.trace import read_trace


def _trace(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


def test_rows_by_time_from_zero(tmp_path: Path) -> None:
    path = _trace(tmp_path, "at,concept,steps,guidance_scale,deadline\n103,toy,,7.5,2\n101,,4,,\n")
    first, second = read_trace(path, speed=2)
    assert (first.at, first.fields, first.deadline) == (0.0, {"steps": 4}, None)
    assert (second.at, second.fields, second.deadline) == (1.0, {"concept": "toy", "guidance_scale": 7.5}, 2.0)


@given(instants=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), speed=st.floats(0.1, 100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_gaps_are_kept(tmp_path: Path, instants: list[float], speed: float) -> None:
    rows = read_trace(_trace(tmp_path, "at\n" + "\n".join(map(repr, instants)) + "\n"), speed)
    first = min(instants)
    assert [row.at for row in rows] == pytest.approx([(instant - first) / speed for instant in sorted(instants)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("concept\ntoy\n", "no column 'at'"),
        ("at,colour\n1,red\n", "unknown column 'colour'"),
        ("at\n", "no rows"),
        ("at\nnoon\n", "trace.at: line 2: 'noon'"),
        ("at\n1\nnan\n", "trace.at: line 3: 'nan'"),
        ("at,steps\n1,many\n", "trace.steps: line 2: 'many'"),
        ("at,steps\n1,99999999999\n", "trace.steps: line 2"),
        ("at,deadline\n1,-1\n", "trace.deadline: line 2"),
        ("at\n1,2\n", "line 2 has more cells"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(LoadTestError) as caught:
        read_trace(_trace(tmp_path, text))
    assert words in str(caught.value)
