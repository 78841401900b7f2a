"""Where concept packages come from: what a registry must be able to do, whatever holds its files."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serving.errors import Overloaded, RegistryUnreachable
from vico.errors import ConceptError

SUFFIX = ".safetensors"
SIGNATURE_SUFFIX = ".sig"
CONTROL_FOLDER = ".vico/control"
VERSIONS_FOLDER = ".vico/versions"
FOLDERS = ("", CONTROL_FOLDER, VERSIONS_FOLDER)
"""All folders of a registry, relative to its root."""

MAX_PACKAGE_BYTES = 2 * 2**30
MAX_DOCUMENT_BYTES = 4 * 2**20
"""Of a control document or a signature."""
CHUNK_BYTES = 4 * 2**20

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Stamp:
    """Tells one content of a file from another without reading it."""

    size_bytes: int
    mark: tuple[int | str, ...]
    """ETag, generation or times: whatever the file's home gives."""
    changed: float = 0.0
    """When the file was written, in seconds since 1970 by its home's clock; 0 where a mark never lies."""


class FileReplaced(ConceptError):  # noqa: N818 - reads as what it is at every raise
    """A file became another while it was read; the next attempt meets the new one."""

    def __init__(self) -> None:
        super().__init__("concept", "the file was replaced while it was read", "the same request later")


class Source(Protocol):
    """A registry's files by name: `<id>.safetensors`, and what lies in `CONTROL_FOLDER` and `VERSIONS_FOLDER`.

    Every method raises RegistryUnreachable when the registry cannot be asked; no message holds a path or an address.
    """

    @property
    def live(self) -> bool:
        """Whether `find` and `names` look at the files themselves, so cheaply that every request may ask."""

    @property
    def reachable(self) -> bool:
        """Whether the registry answered when it was asked last."""

    def poll(self) -> None:
        """Bring `find` and `names` up to date where they are not live; never raises."""

    def find(self, name: str) -> Stamp | None:
        """The file's stamp; None if there is no such file."""

    def names(self, folder: str) -> Mapping[str, Stamp]:
        """Files of one of `FOLDERS` by full name."""

    def fetch(self, name: str, stamp: Stamp, destination: Path) -> None:
        """Write the file's content to the new file `destination`.

        Raises:
            FileNotFoundError: there is no such file (any more).
            ConceptError: not a regular file, or too large; FileReplaced: no longer what `stamp` tells.
            Overloaded: the disk of `destination` is full.
        """

    def read(self, name: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """The first `max_bytes` of a file. Raises FileNotFoundError: there is no such file."""

    def create(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all.

        Raises:
            FileExistsError: there is one of that name already.
            Overloaded: the registry's disk is full.
        """

    def put(self, name: str, file: Path) -> None:
        """Write a copy of the local `file`, whole or not at all, in place of what was there.

        Raises:
            Overloaded: the registry's disk is full.
        """

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens if there is none."""


def package_name(concept_id: str) -> str:
    """File of a concept's current version."""
    return f"{concept_id}{SUFFIX}"


def version_name(concept_id: str, digest: str) -> str:
    """File of a version that is kept because something refers to it."""
    return f"{VERSIONS_FOLDER}/{concept_id}@{digest}{SUFFIX}"


def require_size(size_bytes: int) -> None:
    """Raise ConceptError for a file that is larger than any package may be."""
    if size_bytes > MAX_PACKAGE_BYTES:
        raise ConceptError("concept", "the file is too large", f"at most {MAX_PACKAGE_BYTES} bytes")


def unreachable() -> RegistryUnreachable:
    """The refusal when the registry does not answer."""
    return RegistryUnreachable("concept", "the registry cannot be reached now", "the same request later")


def write_error(error: OSError) -> Overloaded | RegistryUnreachable:
    """What an OSError means while a file is written into the registry."""
    if error.errno in _DISK_FULL:
        return Overloaded("registry", "no room to write to it", "the same command when its disk has room")
    return unreachable()


def storage_error(error: OSError) -> Overloaded | RegistryUnreachable:
    """What an OSError means while a file is copied into the store."""
    if error.errno in _DISK_FULL:
        return Overloaded("concept", "no room to load it now", "a request without it, or a later one")
    return unreachable()
