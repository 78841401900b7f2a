"""The workload file: what requests look like, in TOML; and the drawing of requests from it."""

# No `from __future__ import annotations`: pydantic reads these annotations, on Python 3.9 too.
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
from pydantic import Field, model_validator

from vico_client.encode import tensors
from vico_client.errors import InvalidRequest
from vico_client.loadtest.distributions import Distribution, Frozen, Scalar, draw, support
from vico_client.loadtest.errors import LoadTestError, read_text, validation_as_usage
from vico_client.loadtest.popularity import ConceptPicker, expand, zipf
from vico_client.messages import GenerateRequest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_WORKLOAD = files("vico_client.loadtest") / "workload.toml"
_DRAWN_OTHERWISE = {"prompt", "concept", "reference_image", "height", "width"}
_WIRE_FIELDS = {spec.name for spec in fields(GenerateRequest) if "datatype" in spec.metadata} - _DRAWN_OTHERWISE


class Concepts(Frozen):
    """Which concepts are asked for, and how often."""

    ids: list[str] = Field(default_factory=list)
    popularity: Literal["zipf", "uniform"] = "zipf"
    exponent: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    cold_ids: list[str] = Field(default_factory=list)
    cold_share: float = Field(default=0.0, ge=0, le=1)
    plain_share: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _shares_fit(self) -> "Concepts":
        if self.cold_share + self.plain_share > 1:
            raise ValueError("cold_share and plain_share together are more than 1")
        if self.cold_share and not self.cold_ids:
            raise ValueError("cold_share needs cold_ids")
        return self

    def picker(self, stream: int, streams: int) -> ConceptPicker:
        """For one of several streams of requests: the cold ids are divided among them, none is cold twice."""
        warm = expand(self.ids)
        exponent = self.exponent if self.popularity == "zipf" else 0.0
        cold = expand(self.cold_ids)
        mine = cold[stream::streams] or cold
        return ConceptPicker(warm, zipf(len(warm), exponent), mine, self.cold_share, self.plain_share)


class Workload(Frozen):
    """What requests look like. deadline, and think (of a closed loop's users): seconds; fields: those of
    `GenerateRequest` by name, and `size`."""

    prompts: list[str] = Field(min_length=1)
    plain_prompts: list[str] = Field(min_length=1)
    deadline: Optional[Distribution] = None
    think: Distribution = 0.0
    concepts: Concepts = Concepts()
    fields: dict[str, Distribution] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _can_be_sent(self) -> "Workload":
        accepted = ", ".join(sorted(_WIRE_FIELDS | {"size"}))
        for name, distribution in self.fields.items():
            if name not in _WIRE_FIELDS | {"size"}:
                raise ValueError(f"fields.{name} is no field of a request; accepted: {accepted}")
            for value in support(distribution):
                _check_encodable(name, value)
        for value in [] if self.deadline is None else support(self.deadline):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"deadline {value!r} is not a number of seconds above 0")
        return self

    def warm_ids(self) -> list[str]:
        """The concepts that may be asked for before the test starts."""
        return expand(self.concepts.ids)

    def with_concepts(self, ids: Sequence[str]) -> "Workload":
        """The same with other concepts; unchanged for none."""
        return (
            self.model_copy(update={"concepts": self.concepts.model_copy(update={"ids": list(ids)})}) if ids else self
        )


@dataclass(frozen=True)
class Draw:
    """One request drawn: `fields` of a GenerateRequest, deadline in seconds, whether its concept is a cold one."""

    fields: dict[str, Any]
    deadline: Optional[float]
    cold: bool


class Drawer:
    """Draws the requests of one stream, in order; the same seed and stream give the same requests."""

    def __init__(self, workload: Workload, seed: int, stream: int = 0, streams: int = 1) -> None:
        self._workload = workload
        self._random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, stream)))
        self._picker = workload.concepts.picker(stream, streams)

    def next(self) -> Draw:
        """The stream's next request."""
        concept, cold = self._picker.pick(self._random)
        prompts = self._workload.prompts if concept else self._workload.plain_prompts
        request: dict[str, Any] = {"prompt": prompts[int(self._random.integers(len(prompts)))]}
        if concept:
            request["concept"] = concept
        request["seed"] = int(self._random.integers(2**31))
        for name, distribution in self._workload.fields.items():
            request.update(_field(name, draw(distribution, self._random)))
        deadline = self._workload.deadline
        seconds = None if deadline is None else float(draw(deadline, self._random))  # type: ignore[arg-type]
        return Draw(request, seconds, cold)


def read_workload(path: Optional[Path] = None) -> Workload:
    """The workload of a TOML file, or the shipped one; LoadTestError names what is wrong in it."""
    text = DEFAULT_WORKLOAD.read_text(encoding="utf-8") if path is None else read_text(path, "workload")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LoadTestError(f"not TOML: {error}", field="workload", hint="see docs/loadtest.md") from None
    with validation_as_usage("workload"):
        return Workload.model_validate(content)


def _field(name: str, value: Scalar) -> dict[str, Any]:
    if name != "size":
        return {name: value}
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidRequest(f"{value!r} is not a size", field="size", hint="[height, width]")
    height, width = value
    return {"height": height, "width": width}


def _check_encodable(name: str, value: Scalar) -> None:
    try:
        tensors(GenerateRequest("", **_field(name, value)))
    except InvalidRequest as error:
        raise ValueError(f"fields.{error}") from None
