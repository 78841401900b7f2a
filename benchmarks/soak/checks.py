"""What every answer is held against: the picture that each version of each concept gave before anything was swapped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from vico_client import Client, GenerateRequest, GenerateResult

from benchmarks.serving.settings import GUIDANCE_SCALE
from benchmarks.serving.swapping import replace_file
from vico.concept.package import read_manifest

MIN_PSNR = 40.0
PROMPT = "a photo of a * on the beach"
MOST_TOLD = 50
"""Wrong things that are kept in words."""

Pixels = npt.NDArray[np.uint8]


def request_for(concept: str, steps: int) -> GenerateRequest:
    """The one request of a concept: its picture depends on the version alone."""
    return GenerateRequest(PROMPT, concept=concept, steps=steps, seed=7, guidance_scale=GUIDANCE_SCALE)


def alike(one: Pixels, other: Pixels) -> bool:
    """Equal, as far as the contract goes (docs/architecture.md)."""
    error = float(((one.astype(np.float64) - other) ** 2).mean())
    return error == 0.0 or float(10 * np.log10(255**2 / error)) >= MIN_PSNR


@dataclass
class Judge:
    """Knows the right pictures; takes answers from any thread."""

    right: dict[tuple[str, int], Pixels] = field(default_factory=dict)
    """By `id@digest` and steps."""
    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def learn(self, result: GenerateResult, steps: int) -> None:
        """A picture that was made alone."""
        self.right[result.info.concept, steps] = np.asarray(result.images[0])

    def judge(self, result: GenerateResult, steps: int, expected: str = "") -> None:
        """A picture under load; `expected`: the version (`id@digest`) that it must be of."""
        version = result.info.concept
        right = self.right.get((version, steps))
        with self._lock:
            self.compared += 1
            if right is None:
                self._say(f"a version that never was: {version}")
            elif not alike(np.asarray(result.images[0]), right):
                self._say(f"another picture of {version}")
            if expected and version != expected:
                self._say(f"{version}, and the newest is {expected}")

    def _say(self, problem: str) -> None:
        if len(self.wrong) < MOST_TOLD:
            self.wrong.append(problem)


@dataclass
class Swapper:
    """A → B → A under one id after the other, with torn and altered files in between, each followed by a request."""

    client: Client
    judge: Judge
    registry: Path
    versions: tuple[Path, Path]
    """Folders with the same ids."""
    ids: list[str]
    replaced: int = 0
    torn: int = 0
    _turn: int = 0

    def learn(self, steps: tuple[int, ...]) -> None:
        """Every version's picture, before the load; the registry holds the first ones afterwards."""
        for folder in reversed(self.versions):
            for concept in self.ids:
                replace_file(folder / f"{concept}.safetensors", self.registry)
                for count in steps:
                    self.judge.learn(self.client.send(request_for(concept, count)), count)

    def swap(self) -> None:
        """One concept's next version: it counts at once; then its file breaks, and it is served as before."""
        turn, self._turn = self._turn, self._turn + 1
        concept, folder = self.ids[turn % len(self.ids)], self.versions[(turn // len(self.ids) + 1) % 2]
        file = folder / f"{concept}.safetensors"
        newest = f"{concept}@{read_manifest(file)[1]}"
        replace_file(file, self.registry)
        self.judge.judge(self.client.send(request_for(concept, 1)), 1, newest)
        self.replaced += 1
        content = file.read_bytes()
        (self.registry / file.name).write_bytes(_broken(content, turn))
        self.judge.judge(self.client.send(request_for(concept, 1)), 1, newest)
        self.torn += 1
        replace_file(file, self.registry)


def _broken(content: bytes, turn: int) -> bytes:
    if turn % 2:
        return content[: len(content) * (turn % 7 + 1) // 8]
    return content[:-9] + bytes([content[-9] ^ 0x20]) + content[-8:]
