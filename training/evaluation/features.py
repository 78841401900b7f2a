"""Object crops, and features of whole pictures and of crops, computed once per picture."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.evaluation.crop import Box, Cropper
from training.evaluation.encoder import Encoder, Features


@dataclass(frozen=True)
class Views:
    """One encoder's features of the same pictures."""

    whole: Features  # [N, D]
    crop: Features  # [N, D] of the object crops


class CachedEncoder:
    """An encoder that remembers: the floor and the gallery return with every method under comparison."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[bytes, Features] = {}

    @property
    def name(self) -> str:
        """The encoder's name."""
        return self._encoder.name

    def encode(self, pictures: Sequence[Image.Image]) -> Features:
        """As the encoder's own; empty for no pictures [0, 0]."""
        if not pictures:
            return np.zeros((0, 0), dtype=np.float32)
        keys = [_key(picture) for picture in pictures]
        new = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._known}
        if new:
            self._known |= dict(zip(new, self._encoder.encode(list(new.values())), strict=True))
        return np.stack([self._known[key] for key in keys])


class CachedCropper:
    """A cropper that remembers: every photo of the gallery is asked for again with every subject."""

    def __init__(self, cropper: Cropper) -> None:
        self._cropper = cropper
        self._known: dict[tuple[bytes, str], Box] = {}

    def crops(self, pictures: Sequence[Image.Image], word: str) -> list[Image.Image]:
        """As the cropper's own."""
        keys = [(_key(picture), word) for picture in pictures]
        new = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._known}
        if new:
            self._known |= dict(zip(new, self._cropper.boxes(list(new.values()), word), strict=True))
        return [picture.crop(self._known[key]) for key, picture in zip(keys, pictures, strict=True)]


def _key(picture: Image.Image) -> bytes:
    return hashlib.sha256(f"{picture.mode}{picture.size}".encode() + picture.tobytes()).digest()
