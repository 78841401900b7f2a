"""`vico export` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from export.cli import Target, export
from export.errors import ExportError, TargetError
from tests.helpers.tiny_graphs import ExportedBase
from vico.base import Base
from vico.concept.graphset import TargetName
from vico.errors import BaseError, VicoError

app = typer.Typer()
app.command()(export)


def test_up_to_date_in_words(base: Base, exported: ExportedBase) -> None:
    result = CliRunner().invoke(app, ["--base", str(base.path), "--out", str(exported.folder), "--no-check"])
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert sum("up to date" in line for line in lines) == 5
    assert any(line.startswith("denoiser") and "18 Attention" in line for line in lines)


def test_json_on_standard_output(base: Base, exported: ExportedBase) -> None:
    result = CliRunner().invoke(app, ["--base", str(base.path), "--out", str(exported.folder), "--json"])
    content = json.loads(result.stdout)
    assert content["out"] == str(exported.folder)
    graphs = content["graphs"]
    served = exported.graphset.targets["onnx"]
    assert set(graphs) == set(served)
    assert graphs["denoiser"]["digest"] == served["denoiser"].digest
    assert {graph["target"] for graph in graphs.values()} == {"onnx"}
    assert all(graph["max_error"] <= 1e-4 and not graph["is_new"] for graph in graphs.values())


def test_tensorrt_without_a_gpu_explains_itself_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.tensorrt.gpu_capability", lambda: None)
    result = CliRunner().invoke(app, ["--base", "absent", "--out", str(tmp_path / "out"), "--target", "tensorrt"])
    assert isinstance(result.exception, TargetError)
    assert "here is none" in str(result.exception)
    assert "accepted: onnx, onnx-fp16" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_tensorrt_rtx_without_its_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    result = CliRunner().invoke(app, ["--base", "absent", "--out", str(tmp_path / "out"), "--target", "tensorrt-rtx"])
    assert isinstance(result.exception, TargetError)
    assert "pip install tensorrt-rtx-cu12" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_every_target_can_be_asked_for() -> None:
    assert {target.value for target in Target} == set(get_args(TargetName))


def test_an_absent_base_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--base", str(tmp_path / "absent"), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, BaseError)
    assert str(tmp_path / "absent") in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_one_line(base: Base, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    result = CliRunner().invoke(app, ["--base", str(base.path), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ExportError)
    assert str(result.exception).startswith("out: ")
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("missing", ["--base", "--out"])
def test_what_is_required(missing: str) -> None:
    other = {"--base": "--out", "--out": "--base"}[missing]
    result = CliRunner().invoke(app, [other, "x"])
    assert result.exit_code == 2
    assert missing in result.stderr


def test_the_command_is_quick_to_ask() -> None:
    """`vico --help` must not wait for torch."""
    code = "import sys, export.cli; sys.exit('torch' in sys.modules or 'onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_errors_have_one_root() -> None:
    assert issubclass(TargetError, ExportError)
    assert issubclass(ExportError, VicoError)
