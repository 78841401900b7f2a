"""A request on its way through the loop, and what it brings back."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field

from serving.deadline import Deadline
from serving.lane import FloatArray, Lane
from serving.streaming.progress import Progress, Watch


@dataclass(frozen=True)
class BatchUse:
    """How a request shared the running batch. Steps are counted since the loop began, over all requests."""

    first_step: int = 0
    """The first step with a lane of the request."""
    last_step: int = 0
    lanes: int = 0
    """Most lanes in one of its steps, those of other requests included."""
    steps: int = 0
    """Steps with a lane of the request."""
    queue_seconds: float = 0.0
    """From its coming to its first step."""
    seconds: float = 0.0
    """From its coming to its last step's end."""
    predicted_seconds: float | None = None
    """What `seconds` were foreseen to be when it came, the decoder's time added; None = no step had been measured."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """A request's pictures, as latents."""

    latents: list[FloatArray]
    """[4, h, w] each, in the order of the specs."""
    use: BatchUse


@dataclass(eq=False)
class Ticket:
    """A request under way; all but `future` belongs to the loop."""

    lanes: list[Lane]
    deadline: Deadline
    client: str
    arrived: float
    latest_start: float = math.inf
    """When it is too late to begin, seconds on the loop's clock."""
    future: Future[Outcome] = field(default_factory=Future)
    predicted_seconds: float | None = None
    """See `BatchUse`."""
    first_step: int = 0
    last_step: int = 0
    most_lanes: int = 0
    steps: int = 0
    queue_seconds: float = 0.0
    work: int = 0
    """Rows x steps spent on it."""
    watch: Watch | None = None
    """Who is told of its progress; None = nobody."""
    told: int = 0
    """Reports of progress that were due so far."""

    @property
    def started(self) -> bool:
        """Whether a step was taken for it."""
        return self.steps > 0

    def saw(self, step: int, lanes: int, now: float) -> None:
        """Count a step that some of its lanes take, which begins now."""
        if not self.started:
            self.first_step, self.queue_seconds = step, now - self.arrived
        self.last_step = step
        self.most_lanes = max(lanes, self.most_lanes)
        self.steps += 1

    def report_due(self) -> bool:
        """Whether its pictures have come, on average, by another report since this was asked last."""
        if self.watch is None:
            return False
        due = sum(lane.state.index for lane in self.lanes) // (len(self.lanes) * self.watch.every)
        passed, self.told = due > self.told, due
        return passed

    def progress(self, seconds_left: float | None) -> Progress:
        """How far it is."""
        states = [lane.state for lane in self.lanes]
        return Progress(
            tuple(state.index for state in states),
            len(self.lanes[0].spec.plan),
            seconds_left,
            tuple(state.previous_data for state in states),
        )

    def outcome(self, now: float) -> Outcome:
        """Its pictures, all of which are done."""
        use = BatchUse(
            self.first_step,
            self.last_step,
            self.most_lanes,
            self.steps,
            self.queue_seconds,
            now - self.arrived,
            self.predicted_seconds,
        )
        return Outcome([lane.state.latent for lane in self.lanes], use)
