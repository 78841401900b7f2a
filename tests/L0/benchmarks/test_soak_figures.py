"""The soak's own arithmetic: growth of memory, and what counts as a wrong picture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.soak.__main__ import as_text
from benchmarks.soak.checks import Judge, Swapper, alike
from benchmarks.soak.memory import Sample, growth, look
from tests.helpers.concepts import make_concept
from vico.concept import read_package
from vico.errors import ConceptError


def answer(concept: str, level: int) -> Any:
    image = Image.fromarray(np.full((4, 4, 3), level, np.uint8))
    return SimpleNamespace(images=(image,), info=SimpleNamespace(concept=concept))


def test_growth_is_of_the_medians_of_two_stretches() -> None:
    samples = [Sample(k / 20, {"loop": 100 if k < 10 else 103, "door": 50}) for k in range(21)]
    samples[3] = Sample(3 / 20, {"loop": 10**9, "door": 50})
    samples.insert(0, Sample(0.0, {"loop": 1, "door": 1, "gone": 7}))
    assert growth(samples) == pytest.approx({"loop": 0.03, "door": 0.0, "total": 0.02})
    assert growth(samples[:5]) == {}, "too early to tell"


def test_a_process_is_looked_at_with_its_descendants() -> None:
    sample = look(os.getpid(), 0.5)
    assert sample.bytes["supervisor"] > 0
    assert sample.total >= sample.bytes["supervisor"]


def test_the_contract_of_equal_pictures() -> None:
    picture = np.full((8, 8, 3), 100, np.uint8)
    assert alike(picture, picture)
    almost = picture.copy()
    almost[0, 0, 0] += 1
    assert alike(picture, almost)
    assert not alike(picture, np.full_like(picture, 109))


def test_a_wrong_an_unknown_and_an_old_picture_are_told() -> None:
    judge = Judge()
    judge.learn(answer("a@1", 100), 1)
    judge.judge(answer("a@1", 100), 1, "a@1")
    assert (judge.compared, judge.wrong) == (1, [])
    judge.judge(answer("a@1", 200), 1)
    judge.judge(answer("a@2", 100), 1)
    judge.judge(answer("a@1", 100), 1, "a@2")
    judge.judge(answer("a@1", 100), 8)
    assert [problem.split(":")[0].split(" of ")[0] for problem in judge.wrong] == [
        "another picture", "a version that never was", "a@1, and the newest is a@2", "a version that never was",
    ]  # fmt: skip


class Registry:
    """A server that answers with the newest version that it could read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._good: dict[str, str] = {}
        self.broken = 0

    def send(self, request: Any) -> Any:
        try:
            self._good[request.concept] = read_package(self._folder / f"{request.concept}.safetensors").digest
        except ConceptError:
            self.broken += 1
        digest = self._good[request.concept]
        return answer(f"{request.concept}@{digest}", int(digest[:2], 16))


def test_concepts_go_to_and_fro_and_break_in_between(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b", tmp_path / "registry"
    for number, folder in enumerate(folders):
        folder.mkdir()
        for seed in range(3):
            make_concept(folder, f"c{seed}", seed=10 * number + seed)
    client: Any = Registry(folders[2])
    swapper = Swapper(client, Judge(), folders[2], folders[:2], ["c0", "c1", "c2"])
    swapper.learn((1,))
    assert len(swapper.judge.right) == 6
    digests = [read_package(folders[2] / "c0.safetensors").digest]
    for turn in range(9):
        swapper.swap()
        if turn % 3 == 0:
            digests.append(read_package(folders[2] / "c0.safetensors").digest)
    a, b = (read_package(folder / "c0.safetensors").digest for folder in folders[:2])
    assert digests == [a, b, a, b]
    assert (swapper.replaced, swapper.torn, client.broken) == (9, 9, 9)
    assert swapper.judge.wrong == []


def test_the_file_has_a_line_for_each_look() -> None:
    seen = {"complete": True, "errors": {}, "samples": [[0.0, {"front": 1}], [1.0, {"front": 2}]]}
    assert json.loads(as_text(seen)) == seen
    assert as_text(seen).splitlines()[-4:] == ['  [0.0, {"front": 1}],', '  [1.0, {"front": 2}]', " ]", "}"]
