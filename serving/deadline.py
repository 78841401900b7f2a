"""When nobody waits any longer: the client's timeout, as a moment on a clock that all processes of the host share."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from serving.errors import DeadlineExceeded


@dataclass(frozen=True)
class Deadline:
    """A moment after which a request's work is for nobody."""

    at: float = math.inf
    """Seconds of CLOCK_MONOTONIC, which does not jump; infinite = none."""

    @staticmethod
    def after(microseconds: int) -> Deadline:
        """From now; 0 = none, as in Triton's request parameter `timeout`."""
        return Deadline(time.monotonic() + microseconds / 1e6) if microseconds else Deadline()

    def passed(self, now: float | None = None) -> DeadlineExceeded | None:
        """The refusal, if the moment has passed; `now` is read from the clock where it is not given."""
        if (time.monotonic() if now is None else now) <= self.at:
            return None
        return DeadlineExceeded("timeout", "it passed before the pictures were done", "a longer one")

    def check(self) -> None:
        """Raise DeadlineExceeded if the moment has passed."""
        if (refusal := self.passed()) is not None:
            raise refusal
