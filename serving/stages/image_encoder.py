"""Second stage: the clean latents of the reference photos."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.concepts.keeper import Keeper
from serving.concepts.store import ConceptStore
from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.fields import RawArray, RawFields
from serving.photo import decode_photo, photo_to_array
from serving.priority import open_drawing
from serving.report import StageReport, Stopwatch
from serving.request import REFERENCE_IMAGE, GenerateRequest
from serving.runner import Runner, open_runner
from serving.seal import Seal
from serving.stages.stage import NO_DEADLINE, request_of, text_tensor
from serving.telemetry.instruments import Instruments
from serving.telemetry.loop import HostCacheState
from serving.telemetry.sampler import Sampler
from vico.concept import GraphSet, read_graphset


class ImageEncoderStage:
    """`request`, `reference_image` → `reference_latent` [R, 4, h, w]; R = 0 without a concept, or without strength."""

    name = "image_encoder"

    def __init__(self, graphset: GraphSet, runner: Runner, store: ConceptStore, seal: Seal) -> None:
        self._graphset = graphset
        self._runner = runner
        self._store = store
        self._seal = seal

    def __call__(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> dict[str, RawArray]:
        """See `Stage`."""
        watch = Stopwatch()
        latent = self._latent(request_of(inputs, self._seal), REFERENCE_IMAGE.read(inputs))
        return {
            "reference_latent": latent,
            "image_encoder_report": text_tensor(StageReport(self.name, watch.seconds).to_json()),
        }

    def _latent(self, request: GenerateRequest, photo: bytes) -> npt.NDArray[np.float32]:
        if not request.concept or (not photo and request.image_guidance == 0.0):
            # nothing of the package is read further on
            side = self._graphset.default_size // self._graphset.vae_factor
            return np.zeros((0, self._graphset.latent_channels, side, side), np.float32)
        if not photo:
            return self._store.open(request.concept_digest).references.astype(np.float32)
        image = photo_to_array(decode_photo(photo), self._graphset.default_size)
        latent: npt.NDArray[np.float32] = self._runner.run({"image": image})["latent"]
        return latent


def open_image_encoder(config: ServingConfig) -> ImageEncoderStage:
    """The stage over the graph set and store of `config`."""
    graphset = read_graphset(config.graphs)
    store = ConceptStore(config.store, config.host_bytes // 4)
    Keeper("image_encoder", store).start()
    Sampler([HostCacheState(Instruments(fixed={"stage": "image_encoder"}), store)]).start()
    runner = open_drawing(config.provider, lambda: open_runner(config, graphset, "vae_encoder"))
    return ImageEncoderStage(graphset, runner, store, Seal(config.secret))
