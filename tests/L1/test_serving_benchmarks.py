"""The benchmarks that need a server run, and write what the contract names; their figures say nothing here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from served import ROOT

from benchmarks.serving.targets import TARGETS

if TYPE_CHECKING:
    from conftest import Exported


def run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)


def test_everything_that_the_contract_names_is_measured_and_gone_on_with(exported: Exported, tmp_path: Path) -> None:
    file, page = tmp_path / "serving.json", tmp_path / "performance.md"
    arguments = ("--json", file, "--graphs", exported.folder, "--quick")
    done = run("serving", *arguments)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(file.read_text())
    again = run("serving", *arguments, "--report", page)
    assert again.returncode == 0, again.stderr
    assert "starting a server" not in again.stdout, "nothing is measured twice"
    assert json.loads(file.read_text()) == figures
    for key in TARGETS:
        assert figures[key].keys() == {"value", "spread", "samples"}
        assert all(math.isfinite(value) for value in figures[key]["samples"])
    for key in (*TARGETS.keys() - {"goodput_overload"}, "images_per_second_8"):
        assert figures[key]["value"] > 0, key
    assert 0 <= figures["goodput_overload"]["value"] <= 1
    assert 0 < figures["overhead_share"]["value"] < 1
    assert "| `p95_over_request_batching` |" in page.read_text()


def test_an_unknown_measurement_is_refused_by_name(tmp_path: Path) -> None:
    done = run("serving", "--json", tmp_path / "x.json", "--only", "speed")
    assert done.returncode == 1
    assert done.stderr.startswith("error only: no measurement 'speed'; accepted: overhead, ")


def test_both_ways_to_take_steps_in_triton_are_timed(tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    done = run("iterative_sequence", "--json", file, "--rounds", "1", "--requests", "2")
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    for users in (1, 8):
        assert figures[f"iterative_ms_per_step_{users}"] > 0
        assert math.isfinite(figures[f"loop_ms_per_step_{users}"])


def test_a_short_soak_swaps_breaks_and_finds_nothing_wrong(exported: Exported, tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    done = run("soak", "--json", file, "--graphs", exported.folder, "--swaps", "60", "--images", "12")
    seen: dict[str, Any] = json.loads(file.read_text())
    assert (seen["wrong"], seen["errors"], seen["complete"]) == ([], {}, True), done.stdout + done.stderr
    assert seen["swaps"] >= 60
    assert seen["images"] >= 12
    assert seen["compared"] >= seen["images"] + seen["torn"]
    assert seen["replaced"] >= 1
    progress, sizes = seen["samples"][-1]
    assert progress == 1.0
    assert {"unet_loop", "tritonserver", "front", "supervisor"} <= sizes.keys()
    assert all(size > 2**20 for size in sizes.values())
