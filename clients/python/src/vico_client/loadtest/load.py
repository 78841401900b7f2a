"""How a server is loaded: by a clock (open loop) or by a number of users who wait for their answers (closed loop)."""

# No `from __future__ import annotations`: pydantic reads these annotations, on Python 3.9 too.
from typing import TYPE_CHECKING, Annotated, Literal, Optional, Union

from pydantic import Field, TypeAdapter, model_validator

from vico_client.loadtest.arrivals import Bursts
from vico_client.loadtest.distributions import Distribution, Frozen, support
from vico_client.loadtest.errors import validation_as_usage

if TYPE_CHECKING:
    from typing_extensions import Self


class _Timed(Frozen):
    duration: float = Field(gt=0, allow_inf_nan=False)
    warmup: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _measures_something(self) -> "Self":
        if self.warmup >= self.duration:
            raise ValueError(f"warmup {self.warmup:g} s leaves nothing of duration {self.duration:g} s")
        return self


class OpenLoad(_Timed):
    """Requests arrive whether or not earlier ones were answered. rate: a second; duration, warmup: seconds.

    warmup is the part of `duration` at its beginning that no figure counts.
    """

    kind: Literal["open"] = "open"
    arrivals: Literal["poisson", "bursty", "constant"] = "poisson"
    rate: float = Field(gt=0, allow_inf_nan=False)
    exact: bool = Field(default=False, description="Poisson: exactly rate × duration requests, at random instants")
    burst_peak: float = Field(default=4.0, gt=1, allow_inf_nan=False)
    burst_calm: float = Field(default=0.25, ge=0, lt=1)
    burst_seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)

    @property
    def bursts(self) -> Bursts:
        """For `arrivals = "bursty"`."""
        return Bursts(self.burst_peak, self.burst_calm, self.burst_seconds)


class TraceLoad(_Timed):
    """Requests arrive as recorded. rate: the recording's mean a second; duration: its length in seconds."""

    kind: Literal["trace"] = "trace"
    name: str
    speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    rate: float


class ClosedLoad(_Timed):
    """`users`, each with one request under way at most, who pause for `think` seconds between answer and request."""

    kind: Literal["closed"] = "closed"
    users: int = Field(ge=1)
    think: Distribution = 0.0
    cycle: Optional[int] = Field(default=None, ge=1)
    """If given, all users take turns at the first `cycle` requests of one stream, as perf_analyzer does."""

    @model_validator(mode="after")
    def _thinks(self) -> "Self":
        if not all(isinstance(value, (int, float)) and value >= 0 for value in support(self.think)):
            raise ValueError("think must be seconds, 0 or more")
        return self


Load = Annotated[Union[OpenLoad, TraceLoad, ClosedLoad], Field(discriminator="kind")]
AnyLoad = Union[OpenLoad, TraceLoad, ClosedLoad]


def load_from(content: object) -> AnyLoad:
    """A load from its JSON form; LoadTestError names what is wrong."""
    adapter: TypeAdapter[AnyLoad] = TypeAdapter(Load)
    with validation_as_usage("load"):
        return adapter.validate_python(content)
