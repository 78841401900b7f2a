"""Encoders: pictures to features in which the same thing is near to itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.errors import TrainingError

Features = npt.NDArray[np.float32]
INPUT = 224
"""Pixels a side that every encoder sees; smaller pictures are enlarged bicubically, all alike."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 16


class EncoderError(TrainingError):
    """An encoder that is not known, or whose library or weights are absent."""


class Encoder(Protocol):
    """Pictures to features in which the same thing is near to itself."""

    @property
    def name(self) -> str:
        """What it is, as tables say it."""

    def encode(self, pictures: Sequence[Image.Image]) -> Features:
        """RGB pictures of any size → [N, D], rows of length 1."""


@runtime_checkable
class NeedsFixedSet(Protocol):
    """An encoder that is only of use once its dimensions are scaled on a fixed set of pictures."""

    def fitted(self, pictures: Sequence[Image.Image]) -> Encoder:
        """The encoder with its scale taken from `pictures`."""


def missing(encoder: str, package: str, command: str = "pip install 'vico[evaluate]'") -> EncoderError:
    """The refusal for an encoder whose library is absent; `command` installs it."""
    return EncoderError("encoders", f"{encoder} needs {package}, which is not installed", command)


def unit(rows: npt.NDArray[np.float32]) -> Features:
    """Rows [N, D] at length 1; a row of zeros stays one."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Features = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return scaled


def pixels(
    pictures: Sequence[Image.Image],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    size: int = INPUT,
) -> npt.NDArray[np.float32]:
    """RGB pictures → [N, 3, size, size]: enlarged or reduced bicubically, (value in 0..1 − mean) / std."""
    same = [picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC) for picture in pictures]
    stacked = np.stack([np.asarray(picture, dtype=np.float32) for picture in same]) / 255
    scaled = (stacked - np.array(mean, dtype=np.float32)) / np.array(std, dtype=np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
