"""What an evaluation leaves: figures as JSON, a table in Markdown, one page with every picture."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from training.evaluation.draw import Drawn
from training.evaluation.scorer import Scores
from training.evaluation.subject import Subject
from training.report import png_bytes
from vico.concept.atomic import write_atomically

JSON, TABLE, PAGE = "scores.json", "scores.md", "pictures.html"


@dataclass(frozen=True)
class Evaluation:
    """One concept's evaluation."""

    concept: str
    suite: str
    facts: Mapping[str, str]  # what a reader must know to repeat it
    scores: Scores
    pictures: int


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """As plain JSON values: what `scores.json` and a package's manifest hold."""
    shares = {name: evaluation.scores.closed_share(name) for name in evaluation.scores.identity_crop}
    content = {**asdict(evaluation), "scores": {**asdict(evaluation.scores), "closed_share": shares}}
    rounded: dict[str, Any] = _rounded(content)
    return rounded


def table(evaluation: Evaluation) -> str:
    """The figures as Markdown."""
    scores = evaluation.scores
    lines = [
        f"# {evaluation.concept}: suite `{evaluation.suite}`, {evaluation.pictures} pictures",
        "",
        "| encoder | view | floor | identity | ceiling | gap closed | retrieval mAP | top 1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in scores.identity:
        whole = (scores.floor[name], scores.identity[name], scores.ceiling[name])
        crop = (scores.floor_crop[name], scores.identity_crop[name], scores.ceiling_crop[name])
        found = (scores.retrieval_map[name], scores.retrieval_top1[name])
        lines.append(f"| {name} | object crop | {_row(crop)} | {scores.closed_share(name):.0%} | {_row(found)} |")
        lines.append(f"| {name} | whole picture | {_row(whole)} | | | |")
    lines += ["", "| text | figure |", "|---|---|"]
    lines += [f"| {family} | {figure:.3f} |" for family, figure in scores.text_by_family.items()]
    lines += [f"| **mean over families** | {scores.text:.3f} |", "", "| pictures | figure |", "|---|---|"]
    lines += [f"| diversity | {scores.diversity:.3f} |", f"| copying | {scores.copying:.3f} |", ""]
    lines += [f"- {name}: {value}" for name, value in evaluation.facts.items()]
    return "\n".join(lines) + "\n"


def write_evaluation(
    out: Path,
    evaluation: Evaluation,
    subject: Subject,
    drawn: Sequence[Drawn],
    floor_drawn: Sequence[Drawn],
    crops: Sequence[Image.Image],
) -> None:
    """Write the three files into `out`, each whole or not at all; `crops` are of `drawn`, in its order."""
    write_atomically(out / JSON, (json.dumps(figures(evaluation), indent=1, allow_nan=False) + "\n").encode())
    write_atomically(out / TABLE, table(evaluation).encode())
    environment = Environment(
        loader=PackageLoader("training.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("page.html").render(
        evaluation=evaluation,
        scores=evaluation.scores,
        train=[_uri(picture) for picture in subject.train],
        held_out=[_uri(picture) for picture in subject.held_out],
        rows=_rows(drawn, crops, floor_drawn),
    )
    write_atomically(out / PAGE, page.encode())


def _rows(drawn: Sequence[Drawn], crops: Sequence[Image.Image], floor_drawn: Sequence[Drawn]) -> list[dict[str, Any]]:
    """One row per prompt: the pictures with their crops, and the floor's."""
    rows: dict[str, dict[str, Any]] = {}
    for one, crop in zip(drawn, crops, strict=True):
        row = rows.setdefault(one.prompt.template, {"prompt": one.prompt, "pictures": [], "crops": [], "floor": []})
        row["pictures"].append(_uri(one.picture))
        row["crops"].append(_uri(crop))
    for one in floor_drawn:
        rows[one.prompt.template]["floor"].append(_uri(one.picture))
    return list(rows.values())


def _uri(picture: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(png_bytes(picture)).decode()}"


def _row(values: Sequence[float]) -> str:
    return " | ".join(f"{value:.3f}" for value in values)


def _rounded(value: Any) -> Any:
    """To four digits; JSON has no NaN, so what is not a number (a closed share without a gap) becomes null."""
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
