"""All checks on a concept package, one line each. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vico.base_files import base_digest
from vico.concept import ConceptPackage, read_package, validate_concept_id
from vico.errors import ConceptError, VicoError


@dataclass(frozen=True)
class Check:
    """Outcome of one check."""

    name: str
    problem: str = ""  # empty: passed


def check_package(path: Path, base: Path | None = None) -> tuple[Check, ...]:
    """Every check there is: the file, its name, and with `base` that it belongs to that one.

    Without a readable file no further check is made.
    """
    try:
        package = read_package(path)
    except FileNotFoundError:
        return (Check("file", f"{path.name} is not there"),)
    except (VicoError, OSError) as error:
        return (Check("file", str(error) if isinstance(error, VicoError) else "it cannot be read"),)
    return Check("file"), Check("manifest"), Check("tensors"), *_further(path, package, base)


def _further(path: Path, package: ConceptPackage, base: Path | None) -> Iterator[Check]:
    manifest = package.manifest
    yield _outcome("name", lambda: _require_name(path, manifest.id))
    preview = manifest.preview_png
    png = not preview or preview.startswith(b"\x89PNG\r\n\x1a\n")
    yield Check("preview", "" if png else "it is no PNG")
    if base is not None:
        yield _outcome("base", lambda: package.require_base(base_digest(base)))
        yield _outcome("text width", lambda: _require_width(package, base))


def _require_name(path: Path, concept_id: str) -> None:
    validate_concept_id(path.stem)
    if path.stem != concept_id:
        # a registry knows a concept by its file's name
        raise ConceptError("concept", f"the file is called {path.name}, the concept {concept_id!r}", "equal names")


def _require_width(package: ConceptPackage, base: Path) -> None:
    try:
        config: dict[str, Any] = json.loads((base / "text_encoder" / "config.json").read_text())
        width = int(config["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConceptError("base", "its text encoder's width cannot be read", "a diffusers folder") from None
    if package.token_embedding.shape[1] != width:
        raise ConceptError("concept", f"its vectors are {package.token_embedding.shape[1]} wide", f"{width}")


def _outcome(name: str, check: Any) -> Check:
    try:
        check()
    except VicoError as error:
        return Check(name, str(error))
    return Check(name)
