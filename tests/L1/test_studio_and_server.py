"""The studio's main path from a clean start: photos → concept → picture, with the real trainer and the real server."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import PATIENCE, browsing, require_browser
from PIL import Image
from served import ROOT, Served, start_server

pytest.importorskip("gradio", reason="the studio is not installed: pip install 'vico[studio]'")
pytest.importorskip("vico_client", reason="the SDK is not installed: pip install clients/python")

from tests.helpers.photos import make_photos
from vico.concept import read_package

if TYPE_CHECKING:
    from conftest import Exported

_COMMAND = "import typer; from studio.cli import studio; typer.run(studio)"


@pytest.fixture
def clean(exported: Exported, tmp_path: Path) -> Iterator[Served]:
    """A server with an empty registry."""
    require_browser()
    (tmp_path / "registry").mkdir()
    served = start_server(exported.folder, tmp_path / "registry", tmp_path / "log")
    yield served
    assert served.stop() == 0, served.log()


@pytest.fixture
def url(clean: Served, tiny_base_folder: Path, tmp_path: Path) -> Iterator[str]:
    """Of `vico studio`, as it is started by hand."""
    options = {"base": tiny_base_folder, "registry": clean.registry, "address": clean.address, "port": 0}
    parts = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "PYTHONWARNINGS": "ignore"}
    with (tmp_path / "studio-log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *parts], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    try:
        assert process.stdout is not None
        ready, _, found = process.stdout.readline().strip().partition(": ")
        assert ready == "ready", (tmp_path / "studio-log").read_text()
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert not list(temporary.glob("vico-studio-*"))


def test_photos_become_a_concept_and_the_concept_a_picture(clean: Served, url: str, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=2)
    with browsing(tmp_path) as browsed:
        page = browsed.see(url)
        page.locator("#photos input[type=file]").set_input_files(sorted(photos.iterdir()))
        page.locator("#photos .file-preview").wait_for()
        page.locator("#name textarea, #name input").fill("My Disc")
        page.locator("#word textarea, #word input").fill("toy")
        page.locator("#teach-more button").first.click()
        page.locator("#steps textarea, #steps input").fill("2")
        page.locator("#train").click()
        page.locator("#seen .pair").nth(1).wait_for()
        page.locator("#job [data-phase=done]").wait_for(timeout=3 * PATIENCE)
        package = read_package(clean.registry / "my-disc.safetensors")
        assert (package.manifest.init_word, package.manifest.recipe["steps"]) == ("toy", 2)
        assert [file.name for file in clean.registry.glob("[!.]*")] == ["my-disc.safetensors"]
        assert not [file for file in (tmp_path / "temporary").rglob("*.png") if file.stat().st_size]

        page.get_by_role("tab", name="Make pictures").click()
        page.locator("#concepts").get_by_text("my-disc").wait_for()
        page.locator("#prompt textarea").fill("a photo of a * on the table")
        page.locator("#draw").click()
        page.locator(".result[data-state=done]").nth(1).wait_for()
        drawn = [image.get_attribute("src") or "" for image in page.locator(".result img").all()]
        pictures = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in drawn]
        assert [picture.size for picture in pictures] == [(32, 32), (32, 32)]
        assert pictures[0].tobytes() != pictures[1].tobytes()
        page.locator(".entry").nth(1).wait_for()
        assert browsed.errors == []
        assert browsed.hosts == {url.removeprefix("http://")}
        assert browsed.overflows() <= 0
