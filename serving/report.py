"""What every stage says about its work, and the `info` that a client gets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from serving.request import GenerateRequest


@dataclass(frozen=True)
class Notice:
    """Something a client should know about a request that succeeded."""

    code: str
    message: str


@dataclass(frozen=True)
class StageReport:
    """One stage's part in a request."""

    stage: str
    seconds: float
    warnings: tuple[Notice, ...] = ()
    batch: dict[str, float | None] | None = None
    """How the request shared the running batch: the fields of `serving.ticket.BatchUse`; only `unet_loop` knows."""

    def to_json(self) -> str:
        """For the `<stage>_report` tensor."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> StageReport:
        """The inverse of `to_json`; the text comes from our own stage."""
        fields = json.loads(text)
        notices = tuple(Notice(**notice) for notice in fields["warnings"])
        return StageReport(fields["stage"], fields["seconds"], notices, fields["batch"])


@dataclass
class Stopwatch:
    """Seconds since it was made."""

    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Wall time."""
        return time.perf_counter() - self.started


def build_info(request: GenerateRequest, reports: Iterable[StageReport]) -> str:
    """The `info` tensor: what was made, what to know about it, and where the time went."""
    reports = list(reports)
    shown = ("seed", "preset", "steps", "sampler", "height", "width", "concept")
    fields = asdict(request)
    return json.dumps(
        {name: fields[name] for name in shown}
        | {"warnings": [asdict(notice) for report in reports for notice in report.warnings]}
        | {"batch": next((report.batch for report in reports if report.batch), {})}
        | {"timings": {report.stage: round(report.seconds, 6) for report in reports}}
    )
