"""What the operator wishes to see, as every process of the server is told."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

LogFormat = Literal["json", "text"]


@dataclass(frozen=True)
class TelemetryConfig:
    """How to tell. Traces are switched on by OpenTelemetry's own environment variables: `serving.telemetry.traces`."""

    log_format: LogFormat = "text"
    """`json`: one object for each line; `text`: for people."""
    log_prompts: bool = False
    """Whether the texts of requests may stand in logs."""


def resolved_format(asked: LogFormat | None) -> LogFormat:
    """The one that was asked for; else text on a terminal, JSON into anything else."""
    return asked or ("text" if sys.stderr.isatty() else "json")
