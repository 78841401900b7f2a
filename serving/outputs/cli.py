"""`vico verify-image`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from serving.errors import LaunchError
from serving.outputs.provenance import GENERATION, MADE_BY_AI, read_manifest
from serving.outputs.watermark import Watermark
from serving.secret_file import read_secret

NOTHING_FOUND = 1


def verify_image(
    file: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP.")],
    watermark_key_file: Annotated[Path | None, typer.Option(help="Look for the watermark of this secret.")] = None,
    search: Annotated[bool, typer.Option(help="For the watermark of a cropped or scaled picture too.")] = True,
    trust: Annotated[Path | None, typer.Option(help="Authorities (PEM) whose signatures are believed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Tell where a picture comes from: its signed metadata, its watermark. Exit code 1: neither says so."""
    pixels, image_format = _opened(file)
    facts = _provenance(file.read_bytes(), image_format, trust.read_text() if trust else "")
    found = facts["signature"] in (("Trusted",) if trust else ("Valid", "Trusted"))
    if watermark_key_file is not None:
        key = read_secret(watermark_key_file, "watermark-key-file").encode()
        mark = Watermark(key).read(pixels, search)
        facts["watermark"] = f"id {mark.deployment}, at {mark.scale:.3g} times its size" if mark else "none of this key"
        found = found or mark is not None
    _tell(facts, as_json=as_json)
    if not found:
        raise typer.Exit(NOTHING_FOUND)


def _tell(facts: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table("", "", show_header=False)
    for name, value in facts.items():
        table.add_row(name, value)
    Console(soft_wrap=True, highlight=False).print(table)


def _opened(file: Path) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], str]:
    try:
        with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as image:
            return np.asarray(image.convert("RGB")), str(image.format).lower()
    except (OSError, Image.DecompressionBombError):
        raise LaunchError("file", "cannot be read", "a PNG, JPEG or WebP picture") from None


def _provenance(file: bytes, image_format: str, trusted: str) -> dict[str, str]:
    """What the metadata says, in words."""
    manifest = read_manifest(file, image_format, trusted)
    if manifest is None:
        return {"signature": "none"}
    facts = {"signature": str(manifest.get("validation_state", "Invalid"))}
    active = manifest.get("manifests", {}).get(manifest.get("active_manifest"), {})
    signer = active.get("signature_info", {})
    if signer:
        facts["signer"] = " / ".join(str(signer[name]) for name in ("issuer", "common_name") if name in signer)
    for assertion in active.get("assertions", ()):
        label, data = str(assertion.get("label")), assertion.get("data")
        if label.startswith("c2pa.actions"):
            facts["made by AI"] = "yes" if MADE_BY_AI in json.dumps(data) else "not said"
        if label == GENERATION:
            facts |= {str(name): json.dumps(value) for name, value in data.items()}
    problems = [str(one.get("code")) for one in manifest.get("validation_status", ())]
    return facts | ({"problems": ", ".join(problems)} if problems else {})
