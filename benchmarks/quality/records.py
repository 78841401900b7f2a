"""Records: one line of figures per method and concept, as `docs/quality.json` holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from benchmarks.quality.errors import QualityError
from benchmarks.quality.store import Facts
from training.evaluation.scorer import Scores
from vico.concept.atomic import write_atomically

Cosine = Annotated[float, Field(ge=-1.001, le=1.001)]  # rounding may pass 1
Share = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Figures of one method on one concept. What has no encoder in its name is the mean over the encoders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    concept: str
    identity_crop: Cosine
    """The headline: mean cosine of the object crops to those of the held-out photos, averaged over the encoders."""
    identity_floor: Cosine
    """Likewise for the init word drawn by the plain base."""
    identity_ceiling: Cosine
    """Likewise for real photos of the thing."""
    retrieval_map: Share
    retrieval_top1: Share
    text: float
    """Of the suite's text judge: greater is better."""
    diversity: float
    copying: Share
    """Share of the pictures that copy a training photo."""
    seconds: Annotated[float, Field(ge=0)]
    """Of training: CPU time of one thread (wall-clock time with CUDA)."""
    steps: Annotated[int, Field(ge=0)]
    parameters: Annotated[int, Field(ge=0)]
    """Numbers that were trained."""
    identity: Cosine
    """Whole pictures."""
    identity_crop_by_encoder: Mapping[str, Cosine]
    identity_floor_by_encoder: Mapping[str, Cosine]
    identity_ceiling_by_encoder: Mapping[str, Cosine]
    identity_by_encoder: Mapping[str, Cosine]
    retrieval_map_by_encoder: Mapping[str, Share]
    text_by_family: Mapping[str, float]

    @property
    def closed(self) -> float:
        """Share of the gap from floor to ceiling that is closed, mean over the encoders; nan without a gap."""
        shares = [
            (self.identity_crop_by_encoder[name] - floor) / gap if gap else float("nan")
            for name, floor in self.identity_floor_by_encoder.items()
            for gap in [self.identity_ceiling_by_encoder[name] - floor]
        ]
        return fmean(shares)


_ADAPTER = TypeAdapter(list[Record])


def make_record(facts: Facts, scores: Scores) -> Record:
    """Figures of a finished pair."""

    def mean(figures: Mapping[str, float]) -> float:
        return fmean(figures.values())

    return Record(
        method=facts.label,
        concept=facts.concept,
        identity_crop=mean(scores.identity_crop),
        identity_floor=mean(scores.floor_crop),
        identity_ceiling=mean(scores.ceiling_crop),
        retrieval_map=mean(scores.retrieval_map),
        retrieval_top1=mean(scores.retrieval_top1),
        text=scores.text,
        diversity=scores.diversity,
        copying=scores.copying,
        seconds=round(facts.seconds, 2),
        steps=facts.steps,
        parameters=facts.parameters,
        identity=mean(scores.identity),
        identity_crop_by_encoder=dict(scores.identity_crop),
        identity_floor_by_encoder=dict(scores.floor_crop),
        identity_ceiling_by_encoder=dict(scores.ceiling_crop),
        identity_by_encoder=dict(scores.identity),
        retrieval_map_by_encoder=dict(scores.retrieval_map),
        text_by_family=dict(scores.text_by_family),
    )


def write_records(path: Path, records: Sequence[Record]) -> None:
    """A JSON list, figures to five places."""
    content = json.loads(_ADAPTER.dump_json(list(records)), parse_float=lambda text: round(float(text), 5))
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


def read_records(path: Path) -> list[Record]:
    """What `write_records` wrote.

    Raises:
        QualityError: absent, not JSON, or names the field of a record that is not as it must be.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError:
        raise QualityError("records", f"there is no {path.name}", "a file that `report` wrote") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or path.name
        raise QualityError("records", f"{where}: {first['msg']}", ", ".join(Record.model_fields)) from None
