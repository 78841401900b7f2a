"""What is measured, as data: contenders, their works, and the duels in which two sides take turns."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEPT_SHARE = 0.3
"""Of the reference tokens: what a mask leaves of a photo."""
REQUEST_STEPS = 25
"""Steps of the request whose cost is composed from steps."""
SHORT_STEPS = 2
"""Steps of the request that is run whole, to prove the composition."""
LANES = 8
"""Lanes of the mixed batch, one row each."""
_BLOCKS = 0.12
"""Of a row of the U-Net: what the image attention blocks cost."""
CHUNK = 2
"""Rows of the reference encoder in one run: timesteps ahead of the loop, as many as `serving.batch.RUN_PIXELS` lets be
computed together at latent 64."""


@dataclass(frozen=True)
class Settings:
    """One run of the benchmark."""

    base: Path
    work: Path
    """Graphs and concepts made for the benchmark; kept between runs."""
    latent: int
    """Side of the latent: 64 is 512 x 512 pixels."""
    rounds: int
    threads: int = os.cpu_count() or 1

    @property
    def gemm_side(self) -> int:
        """Of the square matrices whose product is the machine's peak; small for toy latents."""
        return 4096 if self.latent >= 32 else 512

    def identity(self) -> dict[str, Any]:
        """What must be equal for a result file to be gone on with: of rounds there may be more."""
        fields = asdict(self) | {"base": self.base.name}
        del fields["work"], fields["rounds"]
        return fields


@dataclass(frozen=True)
class Unit:
    """One thing to be timed."""

    contender: str
    """Runs in a process of its own: a key of `contenders.CONTENDERS`."""
    work: str
    rows: float
    """Rows of the denoiser (two with guidance for one picture): scales the estimate of time."""

    @property
    def name(self) -> str:
        """As results call it."""
        return f"{self.contender}.{self.work}"


@dataclass(frozen=True)
class Duel:
    """Units that take turns, round by round, so that a slow minute of the machine slows all sides of a ratio."""

    name: str
    units: tuple[Unit, ...]
    apart: bool = False
    """One process at a time, loaded again for every turn: at full size two of them do not fit into 24 GiB."""

    @property
    def contenders(self) -> tuple[str, ...]:
        """The processes that are alive in it, each once."""
        return tuple(dict.fromkeys(unit.contender for unit in self.units))


def _ours(work: str, rows: float) -> Unit:
    return Unit("ours", work, rows)


DUELS: tuple[Duel, ...] = (
    Duel("plain", (_ours("denoiser_n1", 2), Unit("plain_ort", "step", 2), Unit("gemm", "peak", 1))),
    Duel(
        "two_stream_n1",
        (
            _ours("denoiser_n1", 2),
            _ours("references", CHUNK),
            Unit("two_stream_ort", "step_n1", 4),
            _ours("request_exact", 2 * SHORT_STEPS + SHORT_STEPS),
            _ours("request_fixed", 2 * SHORT_STEPS),
        ),
    ),
    Duel(
        "two_stream_n4",
        (_ours("denoiser_n4", 8), _ours("references", CHUNK), Unit("two_stream_ort", "step_n4", 16)),
        apart=True,
    ),
    Duel(
        "eager_n4",
        (_ours("denoiser_n4", 8), _ours("references", CHUNK), Unit("two_stream_eager", "step_n4", 16)),
        apart=True,
    ),
    Duel("lanes", (_ours("lanes_mixed", LANES), _ours("lanes_single", LANES))),
    Duel("swap", (_ours("swap", 0), _ours("denoiser_n1", 2))),
    Duel("cold_load", (Unit("disk", "load", 0), Unit("disk", "read", 0))),
    Duel("eager", (Unit("plain_ort", "step", 2), Unit("plain_eager", "step", 2))),
    Duel("compile", (Unit("plain_ort", "step", 2), Unit("plain_compile", "step", 2))),
    Duel("openvino", (Unit("plain_ort", "step", 2), Unit("plain_openvino", "step", 2))),
    Duel(
        "bank",
        tuple(
            Unit("bank", f"{form}_b{rows}", _BLOCKS * rows)
            for rows in (1, 2, 4, 8)
            for form in ("bank", "lanes", "fixed")
        ),
    ),
)
"""In this order, so that a process needed by two neighbours is loaded once."""

PROBES = ("flops", "profile", "memory")
"""What is looked at once, without a clock."""


def chosen(only: Iterable[str]) -> tuple[Duel, ...]:
    """The duels of these names; all for none."""
    names = set(only)
    return tuple(duel for duel in DUELS if not names or duel.name in names)
