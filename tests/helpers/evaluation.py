"""Fakes for the tests of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from training.evaluation.draw import Drawn
from training.evaluation.encoder import Features, unit
from training.evaluation.subject import Subject


class ColourEncoder:
    """Mean colour, centred on grey: cheap, and tells things of different colours apart."""

    name = "mean colour"

    def __init__(self) -> None:
        self.seen = 0

    def encode(self, pictures: Sequence[Image.Image]) -> Features:
        self.seen += len(pictures)
        rows = np.stack([np.asarray(picture, dtype=np.float32).mean(axis=(0, 1)) for picture in pictures])
        return unit(rows - 127.5)


class HalfJudge:
    """Seed 0 shows what was asked for, other seeds do not."""

    name = "half"

    def judge(self, drawn: Sequence[Drawn]) -> Features:
        return np.array([one.seed == 0 for one in drawn], dtype=np.float32)


def disc(colour: tuple[int, int, int], ground: tuple[int, int, int], size: int = 32, at: int = 16) -> Image.Image:
    """A disc on a plain ground."""
    picture = Image.new("RGB", (size, size), ground)
    ImageDraw.Draw(picture).ellipse((at - 9, at - 9, at + 9, at + 9), fill=colour)
    return picture


def make_subject(name: str, colour: tuple[int, int, int], held_out: int = 3) -> Subject:
    grounds = [(200, 220, 200), (90, 90, 120), (180, 160, 140), (60, 80, 60), (220, 220, 240)]
    pictures = [disc(colour, ground) for ground in grounds]
    return Subject(name, "toy", tuple(pictures[:2]), tuple(pictures[2 : 2 + held_out]))
