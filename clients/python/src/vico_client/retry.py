"""When the same request is sent again, and after how long.

That is safe because a request carries its seed and its id: whoever answers, the pictures are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vico_client.errors import InvalidRequest, Overloaded, Unavailable, UntrustedServer, VicoClientError

_LATER = re.compile(r"\blater\b")
_NEXT_IN = re.compile(r"\bnext one in (?P<seconds>[0-9]+(\.[0-9]+)?) s\b")


@dataclass(frozen=True)
class Retry:
    """How patient a client is; the deadline of a call bounds everything.

    attempts: how many times the servers are gone through, 1 = no retries, None = as long as the deadline allows.
    first_pause, longest_pause: seconds; each pause is about twice as long as the one before, and a random part of up
    to half of it is left out, so that many clients do not come back at once.
    """

    attempts: int | None = 6
    first_pause: float = 0.25
    longest_pause: float = 8.0

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise InvalidRequest(f"{self.attempts!r}", field="attempts", hint="1 or more, or None")
        if not 0 < self.first_pause <= self.longest_pause:
            raise InvalidRequest(f"{self.first_pause!r}", field="first_pause", hint="seconds, 0 to longest_pause")

    def allows(self, attempts: int) -> bool:
        """Whether one more follows so many."""
        return self.attempts is None or attempts < self.attempts

    def pause(self, attempts: int, error: VicoClientError, chance: float) -> float:
        """Seconds to wait after so many attempts, at least what the server asked for; chance: in [0, 1)."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** min(attempts - 1, 60))
        return max(longest * (1.0 - chance / 2.0), _asked_for(error))


def is_retryable(error: VicoClientError) -> bool:
    """Whether the same request may succeed in a moment: a server that went away, or one that says so itself."""
    if isinstance(error, UntrustedServer):
        return False
    if isinstance(error, Unavailable):
        return error.status in ("UNAVAILABLE", "CANCELLED")
    return isinstance(error, Overloaded) and bool(_LATER.search(str(error)) or _asked_for(error))


def _asked_for(error: VicoClientError) -> float:
    found = _NEXT_IN.search(error.hint or "") if isinstance(error, Overloaded) else None
    return float(found["seconds"]) if found else 0.0
