"""What a picture's place in the order depends on, and the rules of that order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Batching = Literal["in_flight", "request"]
"""`in_flight`: lanes join and leave between steps. `request`: a batch is formed once and run to its end; as one call of
a pipeline it holds pictures of one size, one sampler and one number of steps."""

PRIORITIES = range(1, 10)
"""Of a request; a greater one goes first."""
DEFAULT_PRIORITY = 5


@dataclass(frozen=True)
class Claim:
    """Whose a picture is, and how soon it is wanted."""

    client: str = ""
    priority: int = DEFAULT_PRIORITY
    """One of `PRIORITIES`."""
    deadline: float = math.inf
    """Seconds on the loop's clock; infinite = none."""
    arrived: float = 0.0
    """Seconds on the loop's clock."""
    work: float = 1.0
    """Rows of all its steps."""


@dataclass(frozen=True)
class Policy:
    """The rules of the order; each bounds how long something can be passed over."""

    aging_seconds: float = 10.0
    """A client that was passed over for so long counts one priority more, and so on."""
    patience_seconds: float = 60.0
    """A picture without a deadline counts as due so long after it came; one with a later deadline too."""
    share_work: float = 200.0
    """Rows x steps that a client may be ahead of the others of its priority for the sake of an earlier deadline."""
    turn_seconds: float = 2.0
    """A size class whose step was put off for so long counts one priority more, and so on."""

    def due(self, claim: Claim) -> float:
        """What `earliest deadline first` goes by. Nothing that comes a whole patience later can be due before."""
        return min(claim.deadline, claim.arrived + self.patience_seconds)

    def level(self, priority: int, waited: float) -> int:
        """A priority, raised by the seconds that it was passed over."""
        return priority + int(max(waited, 0.0) / self.aging_seconds)


DEFAULT_POLICY = Policy()
NO_CLAIM = Claim()
