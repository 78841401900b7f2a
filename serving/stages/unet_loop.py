"""Third stage: from noise to latent, through the engine's loop."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from serving.bank import SlotBank
from serving.concepts.store import ConceptStore
from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.engine import Engine
from serving.errors import InvalidField
from serving.fields import RawArray, RawFields
from serving.lane import ConceptUse, LaneSpec
from serving.loop import EngineLoop, Outcome
from serving.references import ReferenceFeatures
from serving.report import StageReport, Stopwatch
from serving.request import GenerateRequest
from serving.runner import KeepsInputs, open_runner
from serving.seal import Seal
from serving.stages.stage import NO_DEADLINE, Pending, request_of, require_shape, text_tensor
from vico.concept import GraphSet, read_graphset
from vico.sampling import PRESETS, initial_noise, make_plan

PROMPT_TOKENS = 77
GRACE_SECONDS = 8.0
"""For lanes under way when the server is told to stop; within Triton's own patience."""

FloatArray = npt.NDArray[np.float32]


class UnetLoopStage:
    """`request`, `context`, `reference_context`, `placeholder_position`, `reference_latent` → `latent` [n, 4, h, w]."""

    name = "unet_loop"

    def __init__(self, graphset: GraphSet, loop: EngineLoop, seal: Seal) -> None:
        self._graphset = graphset
        self._loop = loop
        self._seal = seal

    def __call__(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> dict[str, RawArray]:
        """See `Stage`."""
        return self.begin(inputs, deadline).outputs()

    def begin(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> Pending:
        """See `DeferredStage`. The pictures share the batch with those of every other request."""
        watch = Stopwatch()
        request = request_of(inputs, self._seal)
        require_shape("context", inputs["context"], (2, PROMPT_TOKENS, self._graphset.context_width))
        concept = self._concept_use(request, inputs)
        specs = lane_specs(request, inputs["context"], concept, self._graphset)
        future = self._loop.submit(specs, request.deadline)
        return Pending(future, lambda: self._outputs(future.result(), watch))

    def close(self) -> None:
        """See `DeferredStage`."""
        self._loop.close(GRACE_SECONDS)

    def _outputs(self, outcome: Outcome, watch: Stopwatch) -> dict[str, RawArray]:
        report = StageReport(self.name, watch.seconds, batch=asdict(outcome.use))
        latent = np.stack(outcome.latents).astype(np.float32, copy=False)
        return {"latent": latent, "unet_loop_report": text_tensor(report.to_json())}

    def _concept_use(self, request: GenerateRequest, inputs: RawFields) -> ConceptUse | None:
        """What the pictures take from the concept."""
        if not request.concept or request.image_guidance == 0.0:
            return None
        position = int(inputs["placeholder_position"][0])
        references = inputs["reference_latent"]
        contexts = inputs["reference_context"]
        require_shape("reference_context", contexts, (2, PROMPT_TOKENS, self._graphset.context_width))
        require_shape("reference_latent", references, (None, self._graphset.latent_channels, None, None))
        limit = self._graphset.max_size // self._graphset.vae_factor
        if not 0 <= position < PROMPT_TOKENS or len(references) < 1 or max(references.shape[2:]) > limit:
            raise InvalidField("reference_latent", "not what the stage before it gives", "calls of the model `vico`")
        strengths = request.image_guidance * request.negative_image_guidance, request.image_guidance
        return ConceptUse(request.concept_digest, strengths, references, contexts, position)


def lane_specs(
    request: GenerateRequest, context: FloatArray, concept: ConceptUse | None, graphset: GraphSet
) -> list[LaneSpec]:
    """One spec for each picture of the request; they differ in their noise only."""
    factor = graphset.vae_factor
    shape = (graphset.latent_channels, request.height // factor, request.width // factor)
    plan = make_plan(request.sampler, request.steps, graphset.schedule)
    interval = PRESETS[request.preset].guidance_interval
    return [
        LaneSpec(plan, initial_noise(request.seed, k, shape), context, request.guidance_scale, concept, interval)
        for k in range(request.num_images)
    ]


def open_unet_loop(config: ServingConfig) -> UnetLoopStage:
    """The stage over the graph set and store of `config`."""
    graphset = read_graphset(config.graphs)
    denoiser = open_runner(config, graphset, "denoiser")
    references = ReferenceFeatures(
        open_runner(config, graphset, "reference_encoder"),
        len(graphset.sites),
        config.reference_bytes,
        config.lookahead,
        max_rows=2 * config.lookahead,
    )
    store = ConceptStore(config.store, config.host_bytes)
    bank = SlotBank(graphset.sites, config.slots, denoiser.dtype)
    if isinstance(denoiser, KeepsInputs):
        denoiser.keep(bank.arrays, lambda: bank.version)
    engine = Engine(denoiser, references, bank, store.open, graphset.sites, config.max_lanes)
    return UnetLoopStage(graphset, EngineLoop(engine, config.max_queue), Seal(config.secret))
