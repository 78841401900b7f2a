"""A lane: one picture's place in the running batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from vico.errors import VicoError
from vico.sampling import Plan, SamplerState

FloatArray = npt.NDArray[np.float32]
SizeClass = tuple[int, int]
"""Height and width of the latent: lanes of one size class can share a batch."""


@dataclass(frozen=True, eq=False)
class ConceptUse:
    """What a picture takes from a concept."""

    digest: str
    image_guidance: float
    """Greater than 0."""
    references: FloatArray
    """[R, 4, h, w] clean latents; their size need not be the picture's."""
    contexts: FloatArray
    """[2, 77, D]: what the reference stream reads beside the negative and the positive prompt."""
    position: int
    """Where the placeholder stands in the second of them; also used for the first."""


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

    @property
    def size_class(self) -> SizeClass:
        """Height and width of the latent."""
        _, height, width = self.noise.shape
        return height, width

    @property
    def row_contexts(self) -> FloatArray:
        """[rows, 77, D]: one row without guidance (scale 1), two with it: negative, positive."""
        return self._guided(self.context)

    @cached_property
    def streams(self) -> tuple[ReferenceStream, ...]:
        """The reference streams of the rows; empty without a concept."""
        if self.concept is None:
            return ()
        return tuple(ReferenceStream(self.concept, context) for context in self._guided(self.concept.contexts))

    def _guided(self, contexts: FloatArray) -> FloatArray:
        return contexts[1:] if self.guidance_scale == 1.0 else contexts


@dataclass(frozen=True, eq=False)
class ReferenceStream:
    """What reference features depend on, but for the timestep."""

    concept: ConceptUse
    context: FloatArray
    """[77, D]"""

    @cached_property
    def key(self) -> tuple[str, str, str, int]:
        """Equal keys give equal features: concept, references and context by digest, and the placeholder's position."""
        references = sha256(np.ascontiguousarray(self.concept.references).data).hexdigest()
        context = sha256(np.ascontiguousarray(self.context).data).hexdigest()
        return self.concept.digest, references, context, self.concept.position


@dataclass(eq=False)
class Lane:
    """A picture under way. Only the engine changes it."""

    spec: LaneSpec
    state: SamplerState[npt.NDArray[Any]] = field(init=False)
    slot: int | None = None
    """In the bank, pinned while the lane runs; None without a concept, and before the lane joins."""
    error: VicoError | None = None
    """Why the lane ended before its picture was done."""

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
