"""`vico train --json` and `--look`: what a program that watches a run is told."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from tests.helpers.photos import make_photos
from training.cli import train
from training.masks import veil
from vico.concept import read_package

RECIPE = """
name = "test"
steps = 3
batch_size = 1
token_lr = 5e-3
block_lr = 1e-3
zero_init = true
validation_every = 2
validation_prompts = ["a photo of a {}", "a {} in the snow"]
validation_steps = 2
"""


def told(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def picture(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


@pytest.fixture
def arguments(tiny_base_folder: Path, tmp_path: Path) -> list[object]:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    photos = make_photos(tmp_path / "photos", count=2)
    options = {"base": tiny_base_folder, "photos": photos, "init-word": "toy", "recipe": tmp_path / "recipe.toml"}
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def test_a_watched_run_tells_of_photos_steps_pictures_and_its_end(arguments: list[object], tmp_path: Path) -> None:
    out = tmp_path / "disc.safetensors"
    code, events = told(*arguments, "--out", out, "--json")
    assert code == 0
    assert [event["event"] for event in events] == ["photos", "step", "step", "pictures", "step", "pictures", "written"]
    seen = events[0]["photos"]
    assert [photo["name"] for photo in seen] == ["0.png", "1.png"]
    assert not any(photo["enlarged"] for photo in seen)
    assert picture(seen[0]["photo"]).size == picture(seen[0]["masked"]).size == (256, 256)
    steps = [event for event in events if event["event"] == "step"]
    assert [(step["step"], step["steps"]) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    assert all(step["loss"] > 0 for step in steps)
    assert [drawn["prompt"] for drawn in events[-2]["pictures"]] == ["a photo of a *", "a * in the snow"]
    assert picture(events[-2]["pictures"][0]["picture"]).size == (32, 32)
    assert events[-1] == {"event": "written", "concept": "disc", "digest": read_package(out).digest}


def test_looking_tells_of_the_photos_alone_and_writes_nothing(arguments: list[object], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, events = told(*arguments, "--out", tmp_path / "disc.safetensors", "--look")
    assert (code, [event["event"] for event in events]) == (0, ["photos"])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refusal_is_an_event(arguments: list[object], tmp_path: Path) -> None:
    (tmp_path / "photos" / "0.png").write_bytes(b"not a picture")
    code, [event] = told(*arguments, "--out", tmp_path / "disc.safetensors", "--json")
    assert code == 1
    assert (event["event"], event["field"], event["problem"]) == ("refused", "photos", "0.png is not an image")
    assert event["accepted"].startswith("1 to 7 photos")


def test_a_soft_mask_darkens_by_degrees() -> None:
    mask = np.array([[0.0, 0.5, 1.0]], np.float32)
    row = np.asarray(veil(Image.new("RGB", (3, 1), "white"), mask))[0, :, 0].astype(int)
    assert row[0] < row[1] < row[2] == 255
