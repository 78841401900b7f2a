"""Last stage: latents → encoded pictures, and the `info` of the whole request."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.decoding import rows_of_a_run
from serving.fields import RawArray, RawFields
from serving.report import StageReport, Stopwatch, build_info
from serving.runner import Runner, open_runner
from serving.seal import Seal
from serving.stages.names import DECODER, EARLIER
from serving.stages.stage import NO_DEADLINE, bytes_tensor, report_of, request_of, require_shape, text_tensor
from vico.concept import read_graphset

Pixels = npt.NDArray[np.uint8]

_OPTIONS: dict[str, dict[str, int]] = {"png": {"compress_level": 4}, "jpeg": {"quality": 95}, "webp": {"quality": 95}}


class VaeDecoderStage:
    """`request`, `latent` [n, 4, h, w], the earlier stages' reports → `images` [n], `info` [1]."""

    name = DECODER

    def __init__(self, runner: Runner, vae_factor: int, seal: Seal) -> None:
        self._runner = runner
        self._vae_factor = vae_factor
        self._seal = seal

    def __call__(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> dict[str, RawArray]:
        """See `Stage`."""
        watch = Stopwatch()
        request = request_of(inputs, self._seal)
        request.deadline.check()
        sides = (request.height // self._vae_factor, request.width // self._vae_factor)
        require_shape("latent", inputs["latent"], (request.num_images, None, *sides))
        images = [encode_image(pixels, request.output_format) for pixels in self._decode(inputs["latent"])]
        reports = [report_of(inputs, stage) for stage in EARLIER]
        info = build_info(request, [*reports, StageReport(self.name, watch.seconds)])
        return {"images": bytes_tensor(images), "info": text_tensor(info)}

    def _decode(self, latent: npt.NDArray[np.float32]) -> list[Pixels]:
        rows = rows_of_a_run(latent.shape[2] * self._vae_factor, latent.shape[3] * self._vae_factor)
        return [
            to_pixels(image)
            for start in range(0, len(latent), rows)
            for image in self._runner.run({"latent": latent[start : start + rows]})["image"]
        ]


def to_pixels(image: npt.NDArray[np.float32]) -> Pixels:
    """[3, H, W] in [−1, 1] → [H, W, 3] bytes; what lies outside is clipped."""
    scaled = (image.transpose(1, 2, 0) * 127.5 + 127.5).round().clip(0, 255)
    return np.ascontiguousarray(scaled.astype(np.uint8))


def encode_image(pixels: Pixels, output_format: str) -> bytes:
    """[H, W, 3] → a file of the format; "raw" = the bytes themselves, row by row."""
    if output_format == "raw":
        return pixels.tobytes()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, output_format.upper(), **_OPTIONS[output_format])
    return file.getvalue()


def open_vae_decoder(config: ServingConfig) -> VaeDecoderStage:
    """The stage over the graph set of `config`."""
    graphset = read_graphset(config.graphs)
    return VaeDecoderStage(open_runner(config, graphset, "vae_decoder"), graphset.vae_factor, Seal(config.secret))
