"""The options of `vico generate`, each written once; their names are those of `GenerateOptions`."""

# No `from __future__ import annotations`: typer reads these annotations, on Python 3.9 too.
from pathlib import Path
from typing import Annotated, Any, Optional, cast

import typer

from vico_client.commands.complete import concepts, words
from vico_client.messages import GenerateOptions

Prompt = Annotated[str, typer.Argument(help="What to show; '*' stands for the concept.")]
Concept = Annotated[
    Optional[str], typer.Option("--concept", "-c", help="Concept: id or id@digest.", autocompletion=concepts)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write; several pictures get numbers.")]
NegativePrompt = Annotated[Optional[str], typer.Option(help="What not to show.")]
Seed = Annotated[Optional[int], typer.Option(help="The same seed gives the same pictures.")]
Preset = Annotated[
    Optional[str], typer.Option(help="quality, balanced or fast.", autocompletion=words("quality", "balanced", "fast"))
]
Steps = Annotated[Optional[int], typer.Option(help="Denoising steps; default: the preset's.")]
Sampler = Annotated[
    Optional[str],
    typer.Option(
        help="Sampler, for example dpmpp_2m or unipc; default: the preset's.",
        autocompletion=words("ddim", "dpmpp_2m", "unipc"),
    ),
]
GuidanceScale = Annotated[Optional[float], typer.Option(help="Strength of the prompt; 1 = no guidance.")]
ImageGuidance = Annotated[Optional[float], typer.Option(help="Strength of the concept's photos.")]
Pixels = Annotated[Optional[int], typer.Option(help="Pixels.")]
NumImages = Annotated[Optional[int], typer.Option("--num-images", "-n", help="Number of pictures.")]
Priority = Annotated[Optional[int], typer.Option(help="1 to 9; a greater one goes first.")]
OutputFormat = Annotated[
    Optional[str],
    typer.Option(
        "--format",
        help="png, jpeg, webp or raw; default: by the suffix of --out.",
        autocompletion=words("png", "jpeg", "webp", "raw"),
    ),
]
ReferenceImage = Annotated[
    Optional[Path], typer.Option(exists=True, dir_okay=False, help="Photo to use instead of the concept's own.")
]
Show = Annotated[
    Optional[bool],
    typer.Option(
        help="Show the pictures in the terminal, as coarse blocks where it has no graphics; "
        "default: where it has (kitty, iTerm2, sixel)."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, errors included.")]


def picture_options(given: dict[str, Any]) -> GenerateOptions:
    """given: the command's parameters by name."""
    return cast(GenerateOptions, {name: given[name] for name in GenerateOptions.__annotations__ if name in given})
