"""`vico generate`: ask a server for pictures from the command line (needs the extra `cli`)."""

# No `from __future__ import annotations`: typer reads these annotations, on Python 3.9 too.
import json
from dataclasses import asdict
from pathlib import Path

import typer

from vico_client.commands import access as a
from vico_client.commands import options as o
from vico_client.commands.asking import ask
from vico_client.commands.outcome import exit_codes
from vico_client.commands.terminal import show as show_pictures
from vico_client.files import picture_paths, write_pictures
from vico_client.messages import GenerateInfo, GenerateResult
from vico_client.settings import DEFAULT_ADDRESS, DEFAULT_TIMEOUT

_FORMAT_OF_SUFFIX = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".raw": "raw", ".rgb": "raw"}


def generate(
    context: typer.Context,
    prompt: o.Prompt,
    concept: o.Concept = None,
    out: o.Out = Path("picture.png"),
    negative_prompt: o.NegativePrompt = None,
    seed: o.Seed = None,
    preset: o.Preset = None,
    steps: o.Steps = None,
    sampler: o.Sampler = None,
    guidance_scale: o.GuidanceScale = None,
    image_guidance: o.ImageGuidance = None,
    height: o.Pixels = None,
    width: o.Pixels = None,
    num_images: o.NumImages = None,
    priority: o.Priority = None,
    output_format: o.OutputFormat = None,
    reference_image: o.ReferenceImage = None,
    address: a.Address = DEFAULT_ADDRESS,
    timeout: a.Timeout = DEFAULT_TIMEOUT,
    tls_ca: a.TlsCa = None,
    tls_cert: a.TlsCert = None,
    tls_key: a.TlsKey = None,
    api_key_file: a.ApiKeyFile = None,
    show: o.Show = None,
    as_json: o.AsJson = False,
) -> None:
    """Ask a ViCo server for pictures and save them.

    Prints the paths of the pictures; everything else goes to standard error.
    Exit code: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """
    given = {**context.params, "output_format": output_format or _format_of(out)}
    with exit_codes(as_json=as_json):
        result = ask(a.access_of(given), prompt, o.picture_options(given))
        paths = write_pictures(result.files, picture_paths(out, len(result.files)))
        _report(result, paths, as_json=as_json)
        if not as_json:
            show_pictures(result.images, wanted=show)


def _format_of(out: Path) -> str:
    """Usage errors are found before the server is asked."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {str(out.parent)!r}", param_hint="--out")
    if out.suffix.lower() not in _FORMAT_OF_SUFFIX:
        accepted = ", ".join(_FORMAT_OF_SUFFIX)
        raise typer.BadParameter(f"{out.name!r} should end in one of {accepted}; or give --format", param_hint="--out")
    return _FORMAT_OF_SUFFIX[out.suffix.lower()]


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
