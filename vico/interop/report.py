"""What is in a concept package, for people and for scripts. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from vico.concept import ConceptPackage

_PREVIEW_WIDTH = 32
_MAX_PREVIEW_PIXELS = 4_000_000


def describe(path: Path, package: ConceptPackage) -> dict[str, Any]:
    """Everything as plain JSON values, the preview but for its size left out."""
    manifest = asdict(package.manifest)
    preview = manifest.pop("preview_png")
    tensors = manifest.pop("tensors")
    return {
        **manifest,
        "digest": package.digest,
        "kind": "token only" if package.manifest.token_only else "image attention",
        "file_bytes": path.stat().st_size,
        "tensor_bytes": package.size_bytes,
        "parameters": sum(tensor.size for name, tensor in package.tensors.items() if name != "references"),
        "vectors": package.token_embedding.shape[0],
        "references": package.references.shape[0],
        "preview_bytes": len(preview),
        "tensors": {name: {"dtype": spec["dtype"], "shape": list(spec["shape"])} for name, spec in tensors.items()},
    }


def show(console: Console, path: Path, package: ConceptPackage) -> None:
    """Print a package as a table, where there is colour with its preview in half blocks."""
    facts = describe(path, package)
    table = Table.grid(padding=(0, 2))
    for name, value in _rows(facts, package):
        table.add_row(Text(name, style="dim"), Text(value))
    preview = package.manifest.preview_png if console.color_system else b""
    console.print(Group(*_preview(preview), table))


def _rows(facts: Mapping[str, Any], package: ConceptPackage) -> list[tuple[str, str]]:
    height, width = package.references.shape[2:]
    counts = f"{facts['parameters']:,} parameters, {facts['file_bytes']:,} bytes on disk"
    sites = [f"{site['name']}  {site['channels']} wide, {site['heads']} heads" for site in facts["sites"]]
    rows = [
        ("id", facts["id"]),
        ("digest", facts["digest"]),
        ("kind", facts["kind"]),
        ("base", f"{facts['base_name']} ({facts['base_digest'][:12]})"),
        ("placeholder", facts["placeholder"]),
        ("init word", facts["init_word"]),
        ("vectors", f"{facts['vectors']} of width {package.token_embedding.shape[1]}"),
        ("references", f"{facts['references']} of {height} x {width}" if facts["references"] else "none"),
        ("sites", "\n".join(sites) or "none"),
        ("size", counts),
        ("recipe", _lines(facts["recipe"])),
        ("evaluation", _lines(facts["evaluation"])),
        ("created", facts["created"]),
        ("licence", facts["licence"]),
    ]
    return [(name, value) for name, value in rows if value]


def _lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in values.items())


def _preview(png: bytes) -> list[RenderableType]:
    """A picture of two pixels a character; nothing where there is none, or none that can be shown."""
    if not png:
        return []
    try:
        with Image.open(BytesIO(png), formats=["PNG"]) as picture:
            if picture.width * picture.height > _MAX_PREVIEW_PIXELS:
                return [Text("(the preview is too large to show)", style="dim")]
            height = max(2, round(_PREVIEW_WIDTH * picture.height / picture.width / 2) * 2)
            small = picture.convert("RGB").resize((_PREVIEW_WIDTH, min(height, 2 * _PREVIEW_WIDTH)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return [Text("(the preview is no picture)", style="dim")]
    text = Text()
    for y in range(0, small.height - 1, 2):
        for x in range(small.width):
            upper, lower = (_colour(small.getpixel((x, row))) for row in (y, y + 1))
            text.append("▀", style=f"{upper} on {lower}")
        text.append("\n")
    return [text]


def _colour(pixel: Any) -> str:
    red, green, blue = pixel
    return f"#{red:02x}{green:02x}{blue:02x}"
