"""The folder of concept packages that the picture server watches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.errors import StudioError
from vico.concept import read_package, validate_concept_id
from vico.concept.atomic import write_atomically
from vico.concept.package import read_manifest
from vico.errors import ConceptError

_GUIDANCE = 7.5  # the server's own default
UNKNOWN_WORD = "thing"


@dataclass(frozen=True)
class Known:
    """What the page wants to know of a concept. guidance_scale: of the recipe that it was trained with.

    found: whether its package lies here; what does not is taken to be a plain thing.
    """

    name: str
    word: str = UNKNOWN_WORD
    placeholder: str = "*"
    guidance_scale: float = _GUIDANCE
    found: bool = False


class Registry:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def require_free(self, name: str, *, replace: bool) -> None:
        """StudioError if a concept has that name and must not be replaced."""
        if not replace and self._path(name).exists():
            raise StudioError("name", f"{name!r} is taken", "another name, or tick “replace”")

    def install(self, package: Path, name: str, *, replace: bool) -> None:
        """Verify a package, and put it where the server finds it: whole or not at all.

        Raises:
            StudioError: the name was taken meanwhile, or the package is damaged.
        """
        self.require_free(name, replace=replace)
        try:
            read_package(package)
        except ConceptError as error:
            raise StudioError("concept", error.problem, "train it again") from None
        write_atomically(self._path(name), package.read_bytes())

    def known(self, name: str, version: str = "") -> Known:
        """Of a concept, or of an alias whose `version` (`id@digest`) the server has told."""
        concept_id = (version or name).partition("@")[0]
        try:
            manifest, _ = read_manifest(self._path(concept_id))
        except (ConceptError, OSError):
            return Known(name)
        given = manifest.recipe.get("guidance_scale")
        scale = float(given) if isinstance(given, (int, float)) and 1 <= given <= 30 else _GUIDANCE
        return Known(name, manifest.init_word, manifest.placeholder, scale, found=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{validate_concept_id(name)}.safetensors"
