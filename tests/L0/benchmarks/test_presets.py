"""What `benchmarks.presets` sums up, with pictures and clocks that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.presets import measure
from benchmarks.presets.measure import CANDIDATES, REFERENCE, Judges, Subject, Tally, cosine_distances, rows_asked
from benchmarks.presets.report import BEGIN, write_report
from training.evaluation.encoder import Features
from training.evaluation.suite import Prompt
from vico.pipeline import PictureRequest
from vico.sampling import PRESETS, NoiseSchedule, make_plan


class Brightness:
    """Features that turn with a picture's brightness."""

    name = "brightness"

    def encode(self, pictures: Sequence[Image.Image]) -> Features:
        angle = np.array([np.asarray(picture).mean() / 255 for picture in pictures]) * np.pi / 2
        turned: Features = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
        return turned


def drawn(base: object, request: PictureRequest, concept: object) -> list[Image.Image]:
    """A picture as bright as its steps are many; the clock goes on by as many seconds."""
    Clock.now += request.steps
    return [Image.new("RGB", (4, 4), (2 * request.steps,) * 3)] * request.num_images


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return Clock.now


def tallied(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tally]:
    monkeypatch.setattr(measure, "generate", drawn)
    tallies: dict[str, Tally] = {}
    prompt = Prompt("restyle", "a {} in the snow", "snow")
    request = PictureRequest("", num_images=3)
    subject = Subject("dog", photos=(Image.new("RGB", (4, 4)),))
    for _ in range(2):
        measure.measure_prompt(None, subject, prompt, request, Judges(Brightness()), tallies, Clock())  # type: ignore[arg-type]
    return tallies


def test_figures_of_every_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    tallies = tallied(monkeypatch)
    assert set(tallies) == set(CANDIDATES)
    reference, fast = tallies[REFERENCE].to_json(), tallies["fast"].to_json()
    assert reference["distance"] == pytest.approx(0, abs=1e-6)
    assert reference["time_over_reference"]["value"] == 1
    assert fast["time_over_reference"]["value"] == pytest.approx(PRESETS["fast"].steps / PRESETS[REFERENCE].steps)
    assert fast["distance"] > 0
    assert fast["pictures"] == 6
    assert "identity" in fast
    assert "text" not in fast


def test_the_table_takes_its_place_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = {"base": "toy", "guidance_scale": 4.5, "prompts": 2, "reference": REFERENCE}
    candidates = {name: tally.to_json() for name, tally in tallied(monkeypatch).items()}
    content = json.loads(json.dumps({"settings": settings, "candidates": candidates}))
    page = tmp_path / "performance.md"
    for _ in range(2):
        write_report(content, {"fast": 14}, page)
    assert page.read_text().count(BEGIN) == 1
    assert "| fast | 14 | 0.32 ×" in page.read_text()


@pytest.mark.parametrize("name", PRESETS)
def test_rows_are_one_or_two_a_step(name: str) -> None:
    preset = PRESETS[name]
    plan = make_plan(preset.sampler, preset.steps, NoiseSchedule())
    rows = rows_asked(preset, [step.noise_level for step in plan.steps])
    assert preset.steps <= rows <= 2 * preset.steps
    assert rows == sum(2 if preset.guidance_interval.contains(step) else 1 for step in plan.steps)


def test_distances() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert cosine_distances(rows, np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)) == [0, 1]
