"""A safety checker for `vico serve --safety-checker examples.safety_checker:check`.

It asks an ONNX classifier of your own (`VICO_SAFETY_MODEL`: one input [n, 3, 224, 224] in [0, 1], first output [n, 1],
the probability that a picture must not be shown), and looks at no words. It runs in a process of its own, which
may import what it likes; here ONNX Runtime does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

SIDE = 224
REFUSE_FROM, BLUR_FROM = 0.8, 0.5


def check(pictures: npt.NDArray[np.uint8], facts: Mapping[str, object]) -> list[str]:
    """Pictures [n, H, W, 3] → `allow`, `blur` or `refuse` for each.

    Args:
        pictures: all of one size; thumbnails where `facts["kind"]` is `preview`.
        facts: `kind`, `prompt`, `negative_prompt`, `concept`, `seed`, `first_image`, `height`, `width`, `client`.
    """
    session = _session()
    scaled = np.stack([np.asarray(Image.fromarray(picture).resize((SIDE, SIDE))) for picture in pictures])
    feeds = {session.get_inputs()[0].name: scaled.transpose(0, 3, 1, 2).astype(np.float32) / 255}
    return [_verdict(float(unsafe)) for unsafe in session.run(None, feeds)[0].ravel()]


def _verdict(unsafe: float) -> str:
    if unsafe >= REFUSE_FROM:
        return "refuse"
    return "blur" if unsafe >= BLUR_FROM else "allow"


@lru_cache(1)
def _session() -> ort.InferenceSession:
    return ort.InferenceSession(os.environ["VICO_SAFETY_MODEL"], providers=["CPUExecutionProvider"])


# at once, lest the server begin with a checker that has no model
_session()
