"""What an operator wants done with every picture before a client gets it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any


class Answer(StrEnum):
    """What a client gets for a picture that the checker refuses."""

    BLANK = "blank"
    """A black picture, and a warning in `info`."""
    ERROR = "error"
    """No picture of the request at all."""


class Claim(StrEnum):
    """What provenance may tell beside "made by AI, with this software"."""

    CONCEPT = "concept"
    SEED = "seed"


@dataclass(frozen=True)
class CheckerConfig:
    """The operator's safety checker, which runs in a process of its own."""

    target: str
    """`module:function`, or a name in the entry-point group `vico.safety_checkers`."""
    answer: Answer = Answer.BLANK
    seconds: float = 10.0
    """For one look at the pictures of a request; a checker that takes longer is ended, and they are not shown."""
    start_seconds: float = 120.0
    """For it to be loaded."""
    python: str = field(default_factory=lambda: sys.executable)
    """Triton's own interpreter has no path that could be run."""
    python_path: str = ""
    """Where modules are looked for, beside those that are installed."""


@dataclass(frozen=True)
class ProvenanceConfig:
    """Signed metadata of the pictures (C2PA). Paths of PEM files."""

    certificate: Path
    """The signer's, with its chain."""
    key: Path
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class WatermarkConfig:
    """The invisible watermark."""

    key_file: Path
    deployment: int = 0
    """0 … 65535, what the mark says."""


@dataclass(frozen=True)
class OutputsConfig:
    """All of it; nothing by default."""

    checker: CheckerConfig | None = None
    watermark: WatermarkConfig | None = None
    provenance: ProvenanceConfig | None = None

    def absolute(self) -> OutputsConfig:
        """The same for stages, which run in folders of their own; links stay, as those of mounted secrets are moved."""
        mark, provenance = self.watermark, self.provenance
        return replace(
            self,
            watermark=mark and replace(mark, key_file=mark.key_file.absolute()),
            provenance=provenance
            and replace(provenance, certificate=provenance.certificate.absolute(), key=provenance.key.absolute()),
        )

    @staticmethod
    def from_dict(values: dict[str, Any]) -> OutputsConfig:
        """The inverse of `dataclasses.asdict`, after JSON."""
        checker, mark, provenance = (values[one.name] for one in fields(OutputsConfig))
        return OutputsConfig(
            checker and CheckerConfig(**checker | {"answer": Answer(checker["answer"])}),
            mark and WatermarkConfig(Path(mark["key_file"]), mark["deployment"]),
            provenance
            and ProvenanceConfig(
                Path(provenance["certificate"]), Path(provenance["key"]), tuple(map(Claim, provenance["claims"]))
            ),
        )
