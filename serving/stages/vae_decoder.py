"""Last stage: latents → encoded pictures, and the `info` of the whole request."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.decoding import rows_of_a_run
from serving.fields import RawArray, RawFields
from serving.outputs.encoding import Pixels
from serving.outputs.finish import Finisher, open_finisher
from serving.priority import open_drawing
from serving.report import StageReport, Stopwatch, build_info
from serving.runner import Runner, open_runner
from serving.seal import Seal
from serving.stages.names import DECODER, DECODER_REPORT, EARLIER
from serving.stages.stage import NO_DEADLINE, bytes_tensor, report_of, request_of, require_shape, text_tensor
from vico.concept import read_graphset


class VaeDecoderStage:
    """`request`, `latent` [n, 4, h, w], the earlier stages' reports → `images` [n], `info`, `vae_decoder_report`."""

    name = DECODER

    def __init__(self, runner: Runner, vae_factor: int, seal: Seal, finish: Finisher | None = None) -> None:
        """`finish`: what is done with the pictures before anybody gets them; None = they are encoded."""
        self._runner = runner
        self._vae_factor = vae_factor
        self._seal = seal
        self._finish = finish or Finisher()

    def __call__(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> dict[str, RawArray]:
        """See `Stage`."""
        watch = Stopwatch()
        request = request_of(inputs, self._seal)
        request.deadline.check()
        sides = (request.height // self._vae_factor, request.width // self._vae_factor)
        require_shape("latent", inputs["latent"], (request.num_images, None, *sides))
        finished = self._finish(request, self._decode(inputs["latent"]))
        report = StageReport(self.name, watch.seconds, finished.warnings)
        info = build_info(request, [*(report_of(inputs, stage) for stage in EARLIER), report])
        return {
            "images": bytes_tensor(finished.images),
            "info": text_tensor(info),
            DECODER_REPORT: text_tensor(report.to_json()),
        }

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


def open_vae_decoder(config: ServingConfig) -> VaeDecoderStage:
    """The stage over the graph set of `config`."""
    graphset = read_graphset(config.graphs)
    runner = open_drawing(config.provider, lambda: open_runner(config, graphset, "vae_decoder"))
    return VaeDecoderStage(runner, graphset.vae_factor, Seal(config.secret), open_finisher(config.outputs))
