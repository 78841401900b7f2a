"""One request: every field validated, in plain Python types."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, replace

import numpy as np

from serving.deadline import Deadline
from serving.errors import InvalidField
from serving.fields import BytesField, ChoiceField, FloatField, IntField, RawFields, TextField
from serving.scheduling import DEFAULT_PRIORITY, PRIORITIES
from vico.concept import GraphSet
from vico.concept.manifest import CONCEPT_ID, ID_RULE
from vico.sampling import DEFAULT_PRESET, PRESETS, SAMPLERS

LOWEST_PRIORITY, HIGHEST_PRIORITY = PRIORITIES[0], PRIORITIES[-1]
MAX_STEPS = 100
MAX_IMAGES = 8
MAX_REFERENCE_BYTES = 8 * 2**20
OUTPUT_FORMATS = ("png", "jpeg", "webp", "raw")

PROMPT = TextField("prompt", 1, 1000)
NEGATIVE_PROMPT = TextField("negative_prompt", 0, 1000)
CONCEPT = TextField("concept", 0, 64 + 1 + 64)
SEED = IntField("seed", np.int64, 0, 2**63 - 1, default=0)
PRESET = ChoiceField("preset", (DEFAULT_PRESET, *(name for name in PRESETS if name != DEFAULT_PRESET)))
GUIDANCE_SCALE = FloatField("guidance_scale", 1.0, 30.0, default=7.5)
IMAGE_GUIDANCE = FloatField("image_guidance", 0.0, 1.5, default=1.0)
NUM_IMAGES = IntField("num_images", np.int32, 1, MAX_IMAGES, default=1)
PRIORITY = IntField("priority", np.int32, LOWEST_PRIORITY, HIGHEST_PRIORITY, default=DEFAULT_PRIORITY)
OUTPUT_FORMAT = ChoiceField("output_format", OUTPUT_FORMATS)
PROGRESS_EVERY = IntField("progress_every", np.int32, 0, MAX_STEPS, default=1)
REFERENCE_IMAGE = BytesField("reference_image", MAX_REFERENCE_BYTES)

_CONCEPT_FORM = re.compile(rf"{CONCEPT_ID}(@[0-9a-f]{{64}})?")


@dataclass(frozen=True)
class GenerateRequest:
    """A validated request; the stages after the first trust it."""

    prompt: str
    negative_prompt: str
    concept: str
    """"", "id" or "id@digest"; always "" or "id@digest" once the concept is resolved."""
    seed: int
    steps: int
    sampler: str
    guidance_scale: float
    image_guidance: float
    height: int
    """Pixels; never 0."""
    width: int
    num_images: int
    output_format: str
    preset: str = DEFAULT_PRESET
    """Has given `steps` and `sampler` where the client did not; fixes where guidance applies."""
    negative_image_guidance: float = 1.0
    """The concept's: share of `image_guidance` that guidance's negative half gets."""
    priority: int = DEFAULT_PRIORITY
    """A request of a greater one goes first."""
    client: str = ""
    """Who asks, as far as the front door knows: clients of one priority get equal shares; "" is one of them."""
    first_image: int = 0
    """Index of the first of these pictures among those that the client asked for: a stream has them made in parts."""
    call: str = ""
    """The front door's name for this one call, by which it can be cancelled."""
    progress_every: int = 1
    """Steps from one report of progress to the next; 0 = none is wanted."""
    streamed: bool = False
    """Whether somebody listens to the reports: the stage of the streams says so."""
    deadline_at: float | None = None
    """See `Deadline.at`; None = no deadline."""

    @property
    def deadline(self) -> Deadline:
        """When the client stops waiting."""
        return Deadline() if self.deadline_at is None else Deadline(self.deadline_at)

    def due(self, deadline: Deadline) -> GenerateRequest:
        """The same request with a deadline."""
        return replace(self, deadline_at=deadline.at if math.isfinite(deadline.at) else None)

    @property
    def concept_digest(self) -> str:
        """The resolved concept's digest, "" without a concept."""
        return self.concept.partition("@")[2]

    def resolved(self, digest: str) -> GenerateRequest:
        """The same request with its concept pinned to one version."""
        return replace(self, concept=f"{self.concept.partition('@')[0]}@{digest}")

    def to_json(self) -> str:
        """For the `request` tensor."""
        return json.dumps(asdict(self), allow_nan=False)

    @staticmethod
    def from_json(text: str) -> GenerateRequest:
        """The inverse of `to_json`; the text comes from our own first stage."""
        return GenerateRequest(**json.loads(text))


def parse_request(fields: RawFields, graphset: GraphSet) -> GenerateRequest:
    """Validate every field of a request but the reference photo's content. Allocates nothing that grows with a number.

    Args:
        fields: raw arrays by input name; absent = default.
        graphset: gives the accepted sizes.

    Raises:
        InvalidField: names the field, what is wrong with it, and what is accepted.
    """
    preset = PRESET.read(fields)
    concept = CONCEPT.read(fields)
    if concept and _CONCEPT_FORM.fullmatch(concept) is None:
        raise InvalidField("concept", "malformed", f"an id ({ID_RULE}), or id@digest with 64 hexadecimal digits")
    has_photo = bool(REFERENCE_IMAGE.read(fields))
    if has_photo and not concept:
        raise InvalidField("reference_image", "given without a concept", "a reference photo together with `concept`")
    return GenerateRequest(
        prompt=PROMPT.read(fields),
        negative_prompt=NEGATIVE_PROMPT.read(fields),
        concept=concept,
        seed=SEED.read(fields),
        steps=IntField("steps", np.int32, 1, MAX_STEPS, default=PRESETS[preset].steps).read(fields),
        sampler=_sampler_field(PRESETS[preset].sampler).read(fields),
        guidance_scale=GUIDANCE_SCALE.read(fields),
        image_guidance=IMAGE_GUIDANCE.read(fields),
        height=_side("height", fields, graphset),
        width=_side("width", fields, graphset),
        num_images=NUM_IMAGES.read(fields),
        output_format=OUTPUT_FORMAT.read(fields),
        preset=preset,
        priority=PRIORITY.read(fields),
        progress_every=PROGRESS_EVERY.read(fields),
    )


def _sampler_field(default: str) -> ChoiceField:
    return ChoiceField("sampler", (default, *sorted(SAMPLERS.keys() - {default})))


def _side(name: str, fields: RawFields, graphset: GraphSet) -> int:
    """Height or width in pixels; 0 stands for the base's own size."""
    multiple, limit = graphset.size_multiple, graphset.max_size
    number = IntField(name, np.int32, -(2**31), 2**31 - 1, default=0).read(fields)
    if number == 0:
        return graphset.default_size
    if number % multiple or not multiple <= number <= limit:
        raise InvalidField(name, f"{number} pixels", f"a multiple of {multiple} from {multiple} to {limit}, or 0")
    return number
