"""What `vico studio` refuses before anything listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from studio.cli import studio
from studio.errors import StudioError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text("{}")
    return tmp_path / "base"


def refused(base: Path, *arguments: object) -> StudioError:
    app = typer.Typer()
    app.command()(studio)
    options = ["--base", str(base), "--registry", str(base.parent / "registry"), *map(str, arguments)]
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, StudioError), result.output
    return result.exception


def test_others_need_a_password(base: Path) -> None:
    error = refused(base, "--host", "0.0.0.0")
    assert (error.field, "--password-file" in error.accepted) == ("host", True)


def test_an_empty_password_is_none(base: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("\n")
    assert "empty" in refused(base, "--host", "0.0.0.0", "--password-file", tmp_path / "password").problem


def test_a_folder_that_is_no_base_is_named_at_once(base: Path) -> None:
    (base / "model_index.json").unlink()
    assert refused(base).field == "base"


def test_a_port_that_is_taken_is_said_so(base: Path) -> None:
    pytest.importorskip("gradio", reason="the studio is not installed: pip install 'vico[studio]'")
    with socket.create_server(("127.0.0.1", 0)) as other:
        error = refused(base, "--port", other.getsockname()[1])
    assert (error.field, "cannot be listened on" in error.problem) == ("host", True)
