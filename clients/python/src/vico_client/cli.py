"""`vico generate`: ask a server for pictures from the command line (needs the extra `cli`)."""

# No `from __future__ import annotations`: typer reads these annotations, on Python 3.9 too.
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from vico_client.client import Client
from vico_client.errors import VicoClientError, VicoWarning
from vico_client.files import picture_paths, write_pictures
from vico_client.messages import GenerateInfo, GenerateResult
from vico_client.progress import waiting
from vico_client.settings import DEFAULT_ADDRESS, DEFAULT_TIMEOUT

_FORMAT_OF_SUFFIX = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".raw": "raw", ".rgb": "raw"}


def generate(
    prompt: Annotated[str, typer.Argument(help="What to show; '*' stands for the concept.")],
    concept: Annotated[Optional[str], typer.Option("--concept", "-c", help="Concept: id or id@digest.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; several pictures get numbers.")] = Path(
        "picture.png"
    ),
    negative_prompt: Annotated[Optional[str], typer.Option(help="What not to show.")] = None,
    seed: Annotated[Optional[int], typer.Option(help="The same seed gives the same pictures.")] = None,
    preset: Annotated[Optional[str], typer.Option(help="quality, balanced or fast.")] = None,
    steps: Annotated[Optional[int], typer.Option(help="Denoising steps [default: the preset's].")] = None,
    sampler: Annotated[
        Optional[str], typer.Option(help="Sampler, for example dpmpp_2m or unipc [default: the preset's].")
    ] = None,
    guidance_scale: Annotated[Optional[float], typer.Option(help="Strength of the prompt; 1 = no guidance.")] = None,
    image_guidance: Annotated[Optional[float], typer.Option(help="Strength of the concept's photos.")] = None,
    height: Annotated[Optional[int], typer.Option(help="Pixels.")] = None,
    width: Annotated[Optional[int], typer.Option(help="Pixels.")] = None,
    num_images: Annotated[Optional[int], typer.Option("--num-images", "-n", help="Number of pictures.")] = None,
    priority: Annotated[Optional[int], typer.Option(help="1 to 9; a greater one goes first.")] = None,
    output_format: Annotated[
        Optional[str], typer.Option("--format", help="png, jpeg, webp or raw [default: by the suffix of --out].")
    ] = None,
    reference_image: Annotated[
        Optional[Path], typer.Option(exists=True, dir_okay=False, help="Photo to use instead of the concept's own.")
    ] = None,
    address: Annotated[
        str, typer.Option(envvar="VICO_ADDRESS", help="The server's gRPC address, host:port; several with commas.")
    ] = DEFAULT_ADDRESS,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the pictures.")] = DEFAULT_TIMEOUT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, errors included.")] = False,
) -> None:
    """Ask a ViCo server for pictures and save them.

    Prints the paths of the pictures; everything else goes to standard error.
    Exit code: 0 done, 1 refused or failed, 2 wrong usage.
    """
    options: dict[str, Any] = {
        "concept": concept,
        "negative_prompt": negative_prompt,
        "seed": seed,
        "preset": preset,
        "steps": steps,
        "sampler": sampler,
        "guidance_scale": guidance_scale,
        "image_guidance": image_guidance,
        "height": height,
        "width": width,
        "num_images": num_images,
        "priority": priority,
        "output_format": output_format or _format_of(out),
        "reference_image": reference_image,
    }
    try:
        result = _ask(prompt, address, timeout, options)
        paths = write_pictures(result.files, picture_paths(out, len(result.files)))
    except (VicoClientError, OSError) as error:
        report_error(error, as_json=as_json)
        raise typer.Exit(1) from None
    _report(result, paths, as_json=as_json)


def _format_of(out: Path) -> str:
    """Usage errors are found before the server is asked."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {str(out.parent)!r}", param_hint="--out")
    if out.suffix.lower() not in _FORMAT_OF_SUFFIX:
        accepted = ", ".join(_FORMAT_OF_SUFFIX)
        raise typer.BadParameter(f"{out.name!r} should end in one of {accepted}; or give --format", param_hint="--out")
    return _FORMAT_OF_SUFFIX[out.suffix.lower()]


def _ask(prompt: str, address: str, timeout: float, options: dict[str, Any]) -> GenerateResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VicoWarning)  # `_report` prints them
        with Client(address, timeout=timeout) as client, waiting(f"Waiting for {address}"):
            return client.generate_result(prompt, **options)


def _report(result: GenerateResult, paths: list[Path], *, as_json: bool) -> None:
    if as_json:
        files = [str(path) for path in paths]
        typer.echo(json.dumps({"files": files, "request_id": result.request_id, "info": asdict(result.info)}))
        return
    for warning in result.info.warnings:
        typer.secho(f"warning: {warning.message}", fg="yellow", err=True)
    for path in paths:
        typer.echo(str(path))
    typer.secho(_summary(result.info), dim=True, err=True)


def _summary(info: GenerateInfo) -> str:
    size = f"{info.width} x {info.height}"
    return ", ".join(filter(None, [f"seed {info.seed}", f"{info.steps} steps of {info.sampler}", size, info.concept]))


def report_error(error: Exception, *, as_json: bool) -> None:
    """One line on standard error, or one JSON object on standard output."""
    if not as_json:
        typer.secho(f"error: {error}", fg="red", err=True)
        return
    names = ("problem", "field", "hint", "status", "request_id")
    parts = {name: getattr(error, name, None) for name in names}
    typer.echo(json.dumps({"error": {"type": type(error).__name__, "message": str(error), **parts}}))
