from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from tests.helpers.concepts import BASE_DIGEST, make_concept, make_manifest, make_tensors, make_token_only
from vico.concept import read_package, write_package
from vico.errors import ConceptError
from vico.interop.checks import check_package
from vico.interop.cli import inspect, verify
from vico.interop.report import show


@pytest.fixture
def runner() -> tuple[CliRunner, typer.Typer]:
    app = typer.Typer()
    app.command()(inspect)
    app.command()(verify)
    return CliRunner(), app


def with_preview(folder: Path, preview: bytes) -> Path:
    manifest = replace(
        make_manifest(),
        preview_png=preview,
        recipe={"steps": 150, "name": "toy"},
        evaluation={"loss": 0.1},
        licence="CC0",
    )
    write_package(folder / "toy.safetensors", manifest, make_tensors())
    return folder / "toy.safetensors"


def png(size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def shown(path: Path, *, colour: bool = True) -> str:
    console = Console(
        file=io.StringIO(), width=120, record=True, force_terminal=colour, color_system="truecolor" if colour else None
    )
    show(console, path, read_package(path))
    return console.export_text()


def test_everything_is_shown(tmp_path: Path) -> None:
    path = with_preview(tmp_path, png())
    text = shown(path)
    package = read_package(path)
    for part in (
        "toy",
        package.digest,
        "up_blocks.1.attentions.0",
        "4 wide, 2 heads",
        "steps = 150",
        "loss = 0.1",
        "CC0",
    ):
        assert part in text
    assert text.count("▀") == 32 * 16
    assert f"{path.stat().st_size:,} bytes" in text


def test_without_colour_the_table_stands_alone(tmp_path: Path) -> None:
    text = shown(with_preview(tmp_path, png()), colour=False)
    assert "▀" not in text
    assert "up_blocks.1.attentions.0" in text


def test_a_word_alone_is_shown_as_such(tmp_path: Path) -> None:
    text = shown(make_token_only(tmp_path))
    assert "token only" in text
    assert text.count("none") == 2


@pytest.mark.parametrize("preview", [b"no picture", png()[:40], png((5000, 5000))])
def test_a_preview_that_cannot_be_shown_does_no_harm(tmp_path: Path, preview: bytes) -> None:
    assert "(the preview is" in shown(with_preview(tmp_path, preview))


def test_markup_in_a_manifest_is_text(tmp_path: Path) -> None:
    manifest = replace(make_manifest(), licence="[red]CC0[/red] [/nothing]")
    write_package(tmp_path / "toy.safetensors", manifest, make_tensors())
    assert "[red]CC0[/red] [/nothing]" in shown(tmp_path / "toy.safetensors")


def test_json(tmp_path: Path, runner: tuple[CliRunner, typer.Typer]) -> None:
    path = with_preview(tmp_path, png())
    result = runner[0].invoke(runner[1], ["inspect", str(path), "--json"])
    facts = json.loads(result.output)
    assert facts["id"] == "toy"
    assert facts["kind"] == "image attention"
    assert facts["recipe"] == {"steps": 150, "name": "toy"}
    assert facts["tensors"]["token_embedding"] == {"dtype": "float32", "shape": [1, 6]}
    assert facts["parameters"] == sum(t.size for name, t in make_tensors().items() if name != "references")


def test_good_packages_pass(tmp_path: Path, runner: tuple[CliRunner, typer.Typer]) -> None:
    for path in (make_concept(tmp_path), make_token_only(tmp_path)):
        assert not [check for check in check_package(path) if check.problem]
        assert runner[0].invoke(runner[1], ["verify", str(path)]).exit_code == 0


def test_every_fault_is_named(tmp_path: Path, runner: tuple[CliRunner, typer.Typer]) -> None:
    path = make_concept(tmp_path)
    whole = path.read_bytes()

    def problems() -> dict[str, str]:
        result = runner[0].invoke(runner[1], ["verify", str(path), "--json"])
        assert result.exit_code == 1
        assert str(tmp_path) not in result.output
        return {check["name"]: check["problem"] for check in json.loads(result.output) if check["problem"]}

    path.write_bytes(whole[:-10])
    assert "truncated" in problems()["file"]
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "was altered" in problems()["file"]
    path.unlink()
    assert "is not there" in problems()["file"]
    path.write_bytes(whole)
    path = path.rename(tmp_path / "other.safetensors")
    assert "the concept 'toy'" in problems()["name"]


def test_verify_against_a_base(tiny_base_folder: Path, tmp_path: Path) -> None:
    from vico.base_files import base_digest

    def problems(path: Path) -> set[str]:
        return {check.name for check in check_package(path, tiny_base_folder) if check.problem}

    digest = base_digest(tiny_base_folder)
    assert not problems(make_token_only(tmp_path, base=digest, width=32))
    assert problems(make_token_only(tmp_path, base=digest, width=33)) == {"text width"}
    assert problems(make_token_only(tmp_path, base=BASE_DIGEST, width=32)) == {"base"}
    (not_a_base := tmp_path / "empty").mkdir()
    assert {c.name for c in check_package(make_concept(tmp_path), not_a_base) if c.problem} == {"base", "text width"}


def test_inspecting_what_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match=r"gone\.safetensors cannot be read"):
        inspect(tmp_path / "gone.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ConceptError, match="truncated or not safetensors"):
        inspect(tmp_path / "x.safetensors")


def test_free_of_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vico.interop.cli import inspect, verify;"
        f"p = Path({str(make_concept(tmp_path))!r}); inspect(p); verify(p); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0
