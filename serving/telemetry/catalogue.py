"""Every metric of ours: name, meaning, labels with all their values; in seconds and bytes; see docs/operations.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from serving.errors import Status
from serving.stages.names import DECODER, EARLIER, LOOP, STREAMS
from serving.use import Ending

STAGES = (*EARLIER, DECODER, STREAMS)
TRITON = "tritonserver"
FRONT = "front"
LOOP_REFUSALS = ("queue_full", "client_queue_full", "deadline", "shutting_down")
"""Reasons for which the loop does not let a request in; see `serving.use.Observer`."""

GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""All that gRPC has; the stages do without its library."""

_FINE = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_STEP = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_WAIT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True)
class Metric:
    """One metric, as a scrape shows it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Every label with every value that it can have: what comes from outside is never one."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's, in its unit."""

    @property
    def series(self) -> tuple[str, ...]:
        """Names under which its numbers are found."""
        ends = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return tuple(self.name + end for end in ends)


QUEUE_SECONDS = Metric(
    "vico_queue_seconds", "histogram", "From a request's coming to the loop to its first step.", buckets=_WAIT
)
STEP_SECONDS = Metric("vico_step_seconds", "histogram", "One denoising step of a batch.", buckets=_STEP)
REQUEST_SECONDS = Metric(
    "vico_request_seconds",
    "histogram",
    "A request that the loop let in, from its coming to its end there.",
    {"ending": get_args(Ending)},
    _WHOLE,
)
CANCELLATIONS = Metric("vico_cancellations_total", "counter", "Requests in the loop whose client gave them up.")
DEADLINE_MISSES = Metric(
    "vico_deadline_misses_total", "counter", "Requests that the loop let in and that were not done in time."
)
REFUSALS = Metric("vico_refusals_total", "counter", "Requests that the loop did not let in.", {"reason": LOOP_REFUSALS})
LANES = Metric("vico_lanes", "gauge", "Pictures in the running batch.")
LANES_LIMIT = Metric("vico_lanes_limit", "gauge", "The most pictures that may be in the running batch.")
WAITING = Metric("vico_waiting_pictures", "gauge", "Pictures that were let in and are not yet in the running batch.")
LANE_STEPS = Metric("vico_lane_steps_total", "counter", "Pictures, summed over steps.")
ROW_STEPS = Metric("vico_row_steps_total", "counter", "Rows of the denoiser, summed over steps.")
USEFUL = Metric(
    "vico_useful_row_steps_total", "counter", "Rows, summed over steps, of requests that were done in time."
)
WASTED = Metric("vico_wasted_row_steps_total", "counter", "Rows, summed over steps, of requests that ended otherwise.")
FEATURE_HITS = Metric(
    "vico_feature_hits_total", "counter", "Reference features that were there when a step asked for them."
)
FEATURE_MISSES = Metric(
    "vico_feature_misses_total", "counter", "Reference features that a step asked for and that were not there."
)
FEATURE_BYTES = Metric("vico_feature_bytes", "gauge", "Reference features in host memory.")
FEATURE_LIMIT = Metric("vico_feature_limit_bytes", "gauge", "The bound on them.")
SWAPS = Metric("vico_concept_swaps_total", "counter", "Concepts written to a device slot.")
SLOT_BYTES = Metric("vico_slot_bytes", "gauge", "Weights of the concepts in device slots.")
SLOT_LIMIT = Metric("vico_slot_limit_bytes", "gauge", "All device slots.")
HOST_CACHE_BYTES = Metric(
    "vico_host_cache_bytes", "gauge", "Concept packages in a stage's memory.", {"stage": ("image_encoder", LOOP)}
)
HOST_CACHE_LIMIT = Metric(
    "vico_host_cache_limit_bytes", "gauge", "The bound on them.", {"stage": ("image_encoder", LOOP)}
)
STAGE_SECONDS = Metric(
    "vico_stage_seconds",
    "histogram",
    "A stage's part in a request, waiting in it included.",
    {"stage": STAGES},
    _WAIT,
)
STAGE_ERRORS = Metric(
    "vico_stage_errors_total",
    "counter",
    "Requests that a stage answered with an error, by the status that was meant.",
    {"stage": STAGES, "status": tuple(Status)},
)
FRONT_REQUESTS = Metric(
    "vico_front_requests_total",
    "counter",
    "Requests, and calls that were turned away unread, by the gRPC status of the answer.",
    {"status": GRPC_STATUSES},
)
FRONT_SECONDS = Metric(
    "vico_front_request_seconds", "histogram", "A request from its coming to the end of its answer.", buckets=_WHOLE
)
FRONT_ADDED = Metric(
    "vico_front_added_seconds",
    "histogram",
    "What the front door added to a unary request: all of it but Triton's part.",
    buckets=_FINE,
)
FRONT_CALLS = Metric("vico_front_calls", "gauge", "Requests under way in the front door.")
READY = Metric("vico_ready", "gauge", "1 while a canary's picture comes through every stage, else 0.")
CANARIES = Metric(
    "vico_canaries_total", "counter", "Canary requests, by what they found.", {"verdict": ("well", "ill")}
)
RESTARTS = Metric(
    "vico_restarts_total",
    "counter",
    "Parts of the server that the supervisor started anew.",
    {"part": (*STAGES, TRITON, FRONT)},
)
TRITON_UP = Metric("vico_triton_up", "gauge", "1 if Triton's own metrics are in this answer, else 0.")

CATALOGUE = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order in which they stand here."""
