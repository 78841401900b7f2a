"""Reads the furniture catalogues of Debian's sweethome3d-furniture: models, creators, licences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

LICENCES = {
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}
"""Licence of each catalogue folder, as its LICENSE.TXT states; other catalogues are not used."""


@dataclass(frozen=True)
class Model:
    """One furniture model."""

    id: str  # the catalogue's id, "catalogue#name"
    name: str
    creator: str
    licence: str  # SPDX
    path: Path  # of the OBJ
    rotation: tuple[float, ...]  # 3x3 row-major, from the model's axes to upright, Y up


@lru_cache(maxsize=4)
def load_catalogue(root: Path) -> dict[str, Model]:
    """All models under `root` (one folder a catalogue) by their id."""
    models: dict[str, Model] = {}
    for folder, licence in LICENCES.items():
        text = decode((root / folder / "PluginFurnitureCatalog.properties").read_bytes())
        for entry in entries(text):
            model = Model(
                id=entry["id"],
                name=entry["name"],
                creator=entry.get("creator", "unknown"),
                licence=licence,
                path=root / folder / entry["model"].lstrip("/"),
                rotation=tuple(float(value) for value in entry.get("modelRotation", "").split()) or IDENTITY,
            )
            models[model.id] = model
    return models


def decode(raw: bytes) -> str:
    """Catalogues should be UTF-8; one is Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def entries(text: str) -> list[dict[str, str]]:
    """The numbered entries of a properties file: lines ``key#number=value``."""
    found: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = re.match(r"(\w+)#(\d+)=(.*)", line)
        if match:
            found.setdefault(int(match[2]), {})[match[1]] = match[3].strip()
    return list(found.values())
