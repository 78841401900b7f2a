"""What the supervisor tells: whether the server serves, and what it had to start anew."""

from __future__ import annotations

from serving.telemetry import catalogue as of
from serving.telemetry.instruments import Instruments
from serving.telemetry.quiet import quiet


class SupervisorMetrics:
    """Counts for Prometheus."""

    def __init__(self, make: Instruments) -> None:
        self._ready = make.gauge(of.READY)[""]
        self._canaries = make.counter(of.CANARIES)
        self._restarts = make.counter(of.RESTARTS)

    @quiet
    def serves(self, ready: bool) -> None:
        """Calls are let in from now on, or no longer."""
        self._ready.set(ready)

    @quiet
    def canary(self, well: bool) -> None:
        """What a canary found."""
        self._canaries["well" if well else "ill"].inc()

    @quiet
    def restarted(self, part: str) -> None:
        """A part of the server was started anew."""
        self._restarts[part].inc()
