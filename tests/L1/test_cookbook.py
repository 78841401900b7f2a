"""docs/cookbook.md: each example as it stands, against the real server."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from guarded import API_KEY, Guarded, start_guarded
from PIL import Image
from served import ROOT, Served

pytest.importorskip("vico_client", reason="the SDK is not installed: pip install clients/python")

if TYPE_CHECKING:
    from conftest import Exported

PAGE = ROOT / "docs" / "cookbook.md"
SECTIONS = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
EXAMPLES = {
    section.partition("\n")[0]: code
    for section in SECTIONS
    for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
}
NEEDS_TLS = "TLS and API keys"


@pytest.fixture(scope="module")
def guarded(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    started = start_guarded(exported, tmp_path_factory.mktemp("cookbook"))
    yield started
    assert started.served.stop() == 0, started.served.log()


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs an example in a folder of its own; returns its names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VICO_ADDRESS", server.address)
    Image.effect_noise((70, 50), 80).convert("RGB").save("photo.jpg")

    def run(title: str, **replaced: str) -> dict[str, Any]:
        code = EXAMPLES[title]
        for old, new in replaced.items():
            assert old in code
            code = code.replace(old, new)
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(code, f"{PAGE.name}: {title}", "exec"), names)
        return names

    return run


def test_every_section_has_one_example() -> None:
    assert len(EXAMPLES) == len(SECTIONS) == PAGE.read_text(encoding="utf-8").count("```python")
    assert len(EXAMPLES["A first picture"].strip().splitlines()) <= 5


CHECKED = {
    "A first picture",
    "How much of the concept",
    "Several servers",
    NEEDS_TLS,
    "Save with what made it",
    "Traces",
}


@pytest.mark.parametrize("title", sorted(set(EXAMPLES) - CHECKED))
def test_it_runs(run: Run, title: str) -> None:
    run(title)


def test_a_first_picture(run: Run, tmp_path: Path) -> None:
    run("A first picture")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"


def test_strengths_differ(run: Run, tmp_path: Path) -> None:
    run("How much of the concept")
    assert len({file.read_bytes() for file in tmp_path.glob("strength-*.png")}) == 3


def test_several_servers(run: Run, server: Served) -> None:
    port = server.address.rpartition(":")[2]
    run("Several servers", **{"gpu-1.example.com:8001": f"localhost:{port}", "gpu-2.example.com:8001": "localhost:1"})


def test_tls(run: Run, guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(guarded.authority, tmp_path / "ca.pem")
    assert API_KEY in EXAMPLES[NEEDS_TLS]
    run(NEEDS_TLS, **{"pictures.example.com:443": guarded.address})
    assert capsys.readouterr().out == ""
    run(NEEDS_TLS, **{"pictures.example.com:443": guarded.address, API_KEY: "vico_two"})
    assert "authorization" in capsys.readouterr().out


def test_metadata_is_in_the_file(run: Run, tmp_path: Path) -> None:
    run("Save with what made it")
    with Image.open(tmp_path / "picture-with-metadata.png") as picture:
        assert json.loads(picture.info["vico"])["concept"].startswith("toy@")
    with Image.open(tmp_path / "picture.webp") as picture:
        assert picture.format == "WEBP"


def test_traces(run: Run) -> None:
    pytest.importorskip("opentelemetry", reason="needs the extra: pip install 'vico-client[tracing]'")
    run("Traces")
