"""A lane: one picture's place in the running batch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.scheduling import NO_CLAIM, Claim, Course, Policy, SizeClass
from vico.sampling import ALWAYS, GuidanceInterval, Plan, SamplerState

FloatArray = npt.NDArray[np.float32]
StreamKey = tuple[str, str, str, int]
"""Equal keys give equal features: concept, references and context by digest, and the placeholder's position."""


@dataclass(frozen=True, eq=False)
class ConceptUse:
    """What a picture takes from a concept."""

    digest: str
    image_guidance: tuple[float, float]
    """Of the negative and the positive half; the second is greater than 0."""
    references: FloatArray
    """[R, 4, h, w] clean latents; their size need not be the picture's."""
    contexts: FloatArray
    """[2, 77, D]: what the reference stream reads beside the negative and the positive prompt."""
    position: int
    """Where the placeholder stands in the second of them; also used for the first."""
    known_keys: tuple[StreamKey, StreamKey] | None = None
    """Of the streams, in a forecast: references and contexts are then empty."""

    @cached_property
    def streams(self) -> tuple[ReferenceStream, ReferenceStream]:
        """What the reference stream reads for the negative and for the positive half."""
        negative, positive = self.contexts
        keys = self.known_keys or (None, None)
        return ReferenceStream(self, negative, keys[0]), ReferenceStream(self, positive, keys[1])


@dataclass(frozen=True, eq=False)
class LaneSpec:
    """Everything that a picture depends on, and nothing else."""

    plan: Plan
    noise: FloatArray
    """[4, h, w]"""
    context: FloatArray
    """[2, 77, D]: negative, positive."""
    guidance_scale: float
    concept: ConceptUse | None = None
    guidance_interval: GuidanceInterval = ALWAYS
    """Noise levels at which the guidance scale applies."""

    @property
    def size_class(self) -> SizeClass:
        """Height and width of the latent."""
        _, height, width = self.noise.shape
        return height, width

    @cached_property
    def guided(self) -> tuple[bool, ...]:
        """For every step, whether it asks for the negative prompt too."""
        return tuple(self.guidance_scale != 1.0 and self.guidance_interval.contains(step) for step in self.plan.steps)

    @cached_property
    def guided_timesteps_left(self) -> tuple[tuple[int, ...], ...]:
        """For every step, the timesteps from it to the last step that ask for the negative prompt too."""
        timesteps = self.plan.timesteps
        asked = [step for step, guided in enumerate(self.guided) if guided]
        return tuple(tuple(timesteps[k] for k in asked if k >= step) for step in range(len(self.plan)))

    @cached_property
    def strengths(self) -> tuple[float, float]:
        """Image guidance of the negative and the positive row; 0 without a concept."""
        return self.concept.image_guidance if self.concept else (0.0, 0.0)

    @property
    def streams(self) -> tuple[ReferenceStream, ...]:
        """The reference streams: negative, positive; empty without a concept."""
        return self.concept.streams if self.concept else ()

    def streams_at(self, step: int) -> tuple[ReferenceStream, ...]:
        """Those that step number `step` asks."""
        return self.streams if self.guided[step] and self.strengths[0] > 0 else self.streams[1:]

    def rows_at(self, step: int) -> int:
        """Of step number `step`: the positive prompt's, and before it the negative one's where the step is guided."""
        return 2 if self.guided[step] else 1

    def row_strengths_at(self, step: int) -> tuple[float, ...]:
        """Image guidance of every row of step number `step`; 0 = the row reads no reference."""
        return self.strengths[-self.rows_at(step) :]

    def reads_at(self, step: int) -> tuple[tuple[ReferenceStream, tuple[int, ...]], ...]:
        """The reference stream of each row that reads one, and the timesteps from `step` on that it is asked at."""
        if not self.streams:
            return ()
        negative, positive = self.streams
        own = positive, self.plan.timesteps[step:]
        if self.guided[step] and self.strengths[0] > 0:
            return (negative, self.guided_timesteps_left[step]), own
        return (own,)

    @cached_property
    def rows_left(self) -> tuple[int, ...]:
        """For every step, the denoiser's rows from it to the last step."""
        return _sums_to_the_end([self.rows_at(step) for step in range(len(self.plan))])

    @cached_property
    def attending_left(self) -> tuple[int, ...]:
        """The same, of the rows that read references."""
        return _sums_to_the_end([len(self.streams_at(step)) for step in range(len(self.plan))])


@dataclass(frozen=True, eq=False)
class ReferenceStream:
    """What reference features depend on, but for the timestep."""

    concept: ConceptUse
    context: FloatArray
    """[77, D]"""
    known_key: StreamKey | None = None

    @cached_property
    def key(self) -> StreamKey:
        """See `StreamKey`."""
        if self.known_key is not None:
            return self.known_key
        references = sha256(np.ascontiguousarray(self.concept.references).data).hexdigest()
        context = sha256(np.ascontiguousarray(self.context).data).hexdigest()
        return self.concept.digest, references, context, self.concept.position


def _sums_to_the_end(numbers: list[int]) -> tuple[int, ...]:
    return tuple(accumulate(reversed(numbers)))[::-1]


@dataclass(eq=False)
class Lane:
    """A picture, waiting or under way. Only the engine changes it."""

    spec: LaneSpec
    claim: Claim = NO_CLAIM
    state: SamplerState[npt.NDArray[Any]] = field(init=False)
    slot: int | None = None
    """In the bank, pinned while the lane runs; None without a concept, and before the lane joins."""
    error: Exception | None = None
    """Why the lane ended before its picture was done."""
    foreseen: int = 0
    """Steps whose reference features were asked for ahead, see `serving.ahead`."""
    first_features: bool = False
    """Whether those of the first step were tried."""
    beside: float = 0.0
    """Rows of the reference stream that were still to be computed for it when it came."""
    left: bool = False
    """Whether it left the engine, done or not."""

    def __post_init__(self) -> None:
        self.state = SamplerState(self.spec.noise)

    @property
    def done(self) -> bool:
        """Whether every step was taken."""
        return self.state.index == len(self.spec.plan)

    @property
    def remaining_timesteps(self) -> tuple[int, ...]:
        """The timesteps still to be asked, the next one first."""
        return self.spec.plan.timesteps[self.state.index :]

    def course(self, policy: Policy) -> Course:
        """What is left of it, for forecasts; it must not be done."""
        index, total = self.state.index, len(self.spec.plan)
        steps = total - index
        return Course(
            self.spec.size_class,
            steps,
            rows=self.spec.rows_left[index] / steps,
            attending=self.spec.attending_left[index] / steps,
            beside=self.beside / total,
            priority=self.claim.priority,
            due=policy.due(self.claim),
            kind=self.kind,
        )

    @property
    def kind(self) -> Hashable:
        """With request batching only pictures of one kind share a batch."""
        return self.spec.size_class, self.spec.plan.sampler, len(self.spec.plan)

    @property
    def guided(self) -> bool:
        """Whether the next step asks for the negative prompt too."""
        return self.spec.guided[self.state.index]

    @property
    def rows(self) -> int:
        """Of the next step, see `LaneSpec.rows_at`."""
        return self.spec.rows_at(self.state.index)

    @property
    def row_contexts(self) -> FloatArray:
        """[rows, 77, D] of the next step."""
        return self.spec.context[-self.rows :]

    @property
    def row_strengths(self) -> tuple[float, ...]:
        """Of the next step, see `LaneSpec.row_strengths_at`."""
        return self.spec.row_strengths_at(self.state.index)
