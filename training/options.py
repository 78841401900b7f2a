"""The options of `vico train`, each written once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class DeviceChoice(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class PrecisionChoice(StrEnum):
    """Precision of the matrix products."""

    NO = "no"
    BF16 = "bf16"


Base = Annotated[Path, typer.Option(help="Base: a diffusers folder of Stable Diffusion 1.x.")]
Photos = Annotated[Path, typer.Option(help="Folder with 1 to 7 photos of the concept.")]
InitWord = Annotated[str, typer.Option(help="Word for the kind of thing, e.g. toy.")]
Out = Annotated[Path, typer.Option(help="Concept package to write, <id>.safetensors.")]
ConceptId = Annotated[str | None, typer.Option("--id", help="Id of the concept; default: the name of --out.")]
Placeholder = Annotated[str, typer.Option(help="What stands for the concept in prompts.")]
RecipeName = Annotated[str | None, typer.Option(help="Shipped recipe or .toml file; default: the base's own.")]
Steps = Annotated[int | None, typer.Option(help="Training steps; default: the recipe's.")]
BatchSize = Annotated[int | None, typer.Option(help="Rows a step; default: the recipe's.")]
Seed = Annotated[int, typer.Option(min=0, help="Equal seeds give equal concepts.")]
Resume = Annotated[bool, typer.Option(help="Go on from the last checkpoint of the same run.")]
Device = Annotated[DeviceChoice, typer.Option(help="Where to train.")]
MixedPrecision = Annotated[PrecisionChoice, typer.Option(help="no = float32.")]
GateOption = Annotated[
    bool, typer.Option("--gate", help="Evaluate; write the package only if its identity beats the plain base's.")
]
HeldOut = Annotated[Path | None, typer.Option(help="Photos of the thing that are not trained on, for --gate.")]
Encoders = Annotated[
    str | None, typer.Option(help="For --gate: of efficientnet-lite2, dinov2-saliency, clip=FOLDER, dino=FOLDER.")
]
Licence = Annotated[str, typer.Option(help="Licence of the photos, and consent of whoever is in them.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, one event a line (training/events.py), refusals included.")
]
Look = Annotated[bool, typer.Option("--look", help="Only say, as JSON, where in the photos the thing seems to be.")]
