"""Third stage: from noise to latent, through the engine's loop. Also takes the front door's words about calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.ahead import FeatureWorker
from serving.bank import SlotBank
from serving.batch import RUN_PIXELS
from serving.calls import CallCancelled, Calls
from serving.concepts.keeper import Keeper
from serving.concepts.store import ConceptStore
from serving.config import ServingConfig
from serving.deadline import Deadline
from serving.engine import Engine, EngineOptions
from serving.errors import InvalidField, ServingError
from serving.fields import RawArray, RawFields
from serving.foresight.answering import Answering
from serving.foresight.familiar import Familiar
from serving.foresight.question import Question, Reading
from serving.lane import ConceptUse, LaneSpec
from serving.loop import Asker, EngineLoop, Outcome
from serving.priority import open_drawing
from serving.references import ReferenceFeatures
from serving.report import StageReport, Stopwatch
from serving.request import GenerateRequest, parse_request
from serving.runner import KeepsInputs, open_runner
from serving.seal import Seal
from serving.stages.names import CONTROL, LOOP
from serving.stages.stage import NO_DEADLINE, Pending, request_of, require_shape, text_tensor
from serving.streaming.post import Post
from serving.streaming.preview import PreviewMap
from serving.streaming.progress import Watch
from serving.telemetry.instruments import Instruments
from serving.telemetry.loop import HostCacheState, LoopMetrics, LoopState
from serving.telemetry.notes import Phase, note, note_phases, note_routine
from serving.telemetry.sampler import Sampler
from serving.use import Observer
from vico.concept import GraphSet, read_graphset
from vico.sampling import PRESETS, initial_noise, make_plan

PROMPT_TOKENS = 77
GRACE_SECONDS = 8.0
"""For lanes under way when the server is told to stop; within Triton's own patience."""

PACKAGE_READERS = 2
"""Threads that read and verify packages; most of it is waiting for the disk."""

FloatArray = npt.NDArray[np.float32]

_SOME_PROMPT = np.array([b"-"], object)
_NO_CONTEXT = np.zeros((2, 0, 0), np.float32)


class UnetLoopStage:
    """`request`, `context`, `reference_context`, `placeholder_position`, `reference_latent` → `latent` [n, 4, h, w]."""

    name = "unet_loop"

    def __init__(
        self, graphset: GraphSet, loop: EngineLoop, seal: Seal, post: Post | None = None, foresight: Path | None = None
    ) -> None:
        """`post`: takes the progress of requests of streams; None = nobody is told.

        `foresight`: the socket where the front door asks; None = it cannot.
        """
        self._graphset = graphset
        self._loop = loop
        self._seal = seal
        self._post = post
        self._calls = Calls()
        self._familiar = Familiar()
        self._answering = Answering(foresight, self.foresee) if foresight is not None else None

    def __call__(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> dict[str, RawArray]:
        """See `Stage`."""
        return self.begin(inputs, deadline).outputs()

    def begin(self, inputs: RawFields, deadline: Deadline = NO_DEADLINE) -> Pending:
        """See `DeferredStage`. The pictures share the batch with those of every other request."""
        if CONTROL in inputs:
            return self._control(inputs)
        watch = Stopwatch()
        request = request_of(inputs, self._seal)
        self._calls.require_wanted(request.call)
        require_shape("context", inputs["context"], (2, PROMPT_TOKENS, self._graphset.context_width))
        concept = self._concept_use(request, inputs)
        reading = Reading.of(request.concept, request.prompt, request.negative_prompt)
        if reading is not None:
            self._familiar.learn(reading, concept)
        specs = lane_specs(request, inputs["context"], concept, self._graphset)
        asker = Asker(request.client, request.priority)
        future = self._loop.submit(specs, request.deadline, asker, self._watch(request))
        self._calls.add(request.call, future)
        return Pending(future, lambda: self._outputs(_result(future), watch))

    def foresee(self, question: Question) -> ServingError | None:
        """Why a request is not to be begun, by how long it takes; None: nothing speaks against it.

        What is wrong with its fields is told by the stage that reads them.
        """
        try:
            request = parse_request({"prompt": _SOME_PROMPT, **question.raw()}, self._graphset)
            reading = question.reading
            concept = self._familiar.likely(reading, request.image_guidance) if reading else None
            specs = lane_specs(request, _NO_CONTEXT, concept, self._graphset)
        except InvalidField:
            return None
        return self._loop.foresee(specs, Deadline(question.deadline_at), Asker(question.client, request.priority))

    def close(self) -> None:
        """See `DeferredStage`."""
        if self._answering is not None:
            self._answering.close()
        self._loop.close(GRACE_SECONDS)
        if self._post is not None:
            self._post.close()

    def _watch(self, request: GenerateRequest) -> Watch | None:
        post = self._post
        if post is None or not (request.streamed and request.progress_every):
            return None
        return Watch(request.progress_every, lambda progress: post.put(request.call, progress))

    def _control(self, inputs: RawFields) -> Pending:
        """Do what the text asks, and tell how far the loop is: steps, runs, pictures, whether in a step."""
        note_routine()
        asked = json.loads(self._seal.of(CONTROL).open(inputs[CONTROL][0]))
        if asked.get("all"):
            self._calls.cancel_all()
        elif "cancel" in asked:
            self._calls.cancel(asked["cancel"])
        elif "wanted" in asked:
            self._calls.require_wanted(asked["wanted"])
        loop = self._loop
        far = {"steps": loop.steps, "runs": loop.engine.runs, "pictures": loop.pictures, "in_a_step": loop.in_a_step}
        told = text_tensor(json.dumps(far))
        done: Future[None] = Future()
        done.set_result(None)
        return Pending(done, lambda: {"unet_loop_report": told})

    def _outputs(self, outcome: Outcome, watch: Stopwatch) -> dict[str, RawArray]:
        use = outcome.use
        note(queue_seconds=round(use.queue_seconds, 6), steps=use.steps, lanes=use.lanes)
        note_phases(Phase("queue", 0.0, use.queue_seconds), Phase("steps", use.queue_seconds, use.seconds))
        report = StageReport(self.name, watch.seconds, batch=asdict(use))
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


def _result(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except CancelledError:
        raise CallCancelled from None


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
    store = ConceptStore(config.store, config.host_bytes)
    make = Instruments(fixed={"stage": LOOP})
    loop, bank = open_drawing(config.provider, lambda: _open_loop(config, graphset, store, (LoopMetrics(make),)))
    Keeper("unet_loop", store, lambda wishes: bank.retain(wishes.pinned), lambda: bank.resident).start()
    Sampler([LoopState(make, loop, bank), HostCacheState(make, store)]).start()
    post = Post(config.progress_socket, PreviewMap(graphset.preview_map))
    return UnetLoopStage(graphset, loop, Seal(config.secret), post, config.foresight_socket)


def _open_loop(
    config: ServingConfig, graphset: GraphSet, store: ConceptStore, observers: Sequence[Observer]
) -> tuple[EngineLoop, SlotBank]:
    """The running loop, and the bank of its engine."""
    denoiser = open_runner(config, graphset, "denoiser")
    rows, pixels = 2 * config.lookahead, RUN_PIXELS if config.provider == "cpu" else 0
    # the worker looks ahead: what the loop must compute itself is only what the next step asks
    references = ReferenceFeatures(
        open_runner(config, graphset, "reference_encoder"), len(graphset.sites), config.reference_bytes, 1, rows, pixels
    )
    bank = SlotBank(graphset.sites, config.slots, denoiser.dtype)
    if isinstance(denoiser, KeepsInputs):
        denoiser.keep(bank.arrays, lambda: bank.version)
    engine = Engine(
        denoiser,
        references,
        bank,
        store.open,
        graphset.sites,
        config.max_lanes,
        EngineOptions(config.max_rows, pixels, config.batching),
        executor=ThreadPoolExecutor(PACKAGE_READERS, "packages"),
        ahead=FeatureWorker(references, config.lookahead, rows),
        beside=ThreadPoolExecutor(1, "next-step"),
        mark=store.mark,
    )
    return EngineLoop(engine, config.max_queue, config.max_client_queue, observers), bank
