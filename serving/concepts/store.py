"""Verified concept packages by digest: a private folder that all processes of one server share."""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from serving.cache import ByteLRU
from serving.errors import ConceptNotFound, Overloaded
from vico.concept import ConceptPackage, read_package
from vico.errors import ConceptError

MAX_PACKAGE_BYTES = 2 * 2**30
IN_USE_SECONDS = 600
"""A version that a request resolved to within this time is never evicted from disk."""

_CHUNK_BYTES = 2**20


class ConceptStore:
    """Copies of packages that were verified once; nothing here changes after it was written.

    A registry's files may be replaced, truncated or removed at any moment. A copy is not: a request that resolved to a
    digest finds the same bytes in every stage, and no process maps a file that may shrink under it.
    """

    def __init__(self, folder: Path, host_bytes: int) -> None:
        self._folder = folder
        self._host: ByteLRU[str, ConceptPackage] = ByteLRU(host_bytes, lambda package: package.size_bytes)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def adopt(self, source: Path, check: Callable[[ConceptPackage], None]) -> ConceptPackage:
        """Copy the file at `source`, verify the copy, keep it under its digest if `check` lets it pass.

        Raises:
            ConceptError: not a regular file, too large, torn, altered, malformed, or refused by `check`.
            Overloaded: the store's disk is full.
            FileNotFoundError: there is no such file.
        """
        partial = self._folder / f".{secrets.token_hex(8)}.partial"
        try:
            _copy(source, partial)
            package = read_package(partial)
            check(package)
            partial.replace(self._path(package.digest))
        finally:
            partial.unlink(missing_ok=True)
        return package

    def open(self, digest: str) -> ConceptPackage:
        """The package, from host memory or else from disk, verified again.

        Raises:
            ConceptNotFound: it is no longer kept.
            ConceptError: the copy was damaged on disk.
        """
        package = self._host.get(digest)
        if package is None:
            try:
                package = read_package(self._path(digest))
            except FileNotFoundError:
                raise ConceptNotFound("concept", "this version is no longer kept", "a version in use") from None
            self._host.put(digest, package)
        return package

    def touch(self, digest: str) -> bool:
        """Mark a version as used now; False if it is not kept."""
        try:
            os.utime(self._path(digest))
        except FileNotFoundError:
            return False
        return True

    def trim(self, max_bytes: int) -> None:
        """Delete what was used longest ago until the folder holds at most `max_bytes`, but nothing used recently."""
        kept = sorted((entry.stat().st_mtime, entry) for entry in self._folder.glob("*.safetensors"))
        total = sum(entry.stat().st_size for _, entry in kept)
        for used, entry in kept:
            if total <= max_bytes or time.time() - used < IN_USE_SECONDS:
                return
            total -= entry.stat().st_size
            entry.unlink()

    def check_integrity(self) -> None:
        """Raise AssertionError if the host cache's account is wrong, or a torn copy was left behind."""
        self._host.check_integrity()
        if list(self._folder.glob(".*.partial")):
            raise AssertionError("the store holds an unfinished copy")

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.safetensors"


def _copy(source: Path, destination: Path) -> None:
    try:
        # O_NONBLOCK: opening a pipe that someone put into the registry must not hang the server
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError:
        raise ConceptError("concept", "the file cannot be read", "a readable concept package") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConceptError("concept", "not a regular file", "a concept package")
        with os.fdopen(descriptor, "rb", closefd=False) as reader:
            _copy_bounded(reader, destination)
    except OSError:
        raise Overloaded("concept", "no room to load it now", "a request without it, or a later one") from None
    finally:
        os.close(descriptor)


def _copy_bounded(reader: BinaryIO, destination: Path) -> None:
    copied = 0
    with destination.open("xb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            copied += len(chunk)
            if copied > MAX_PACKAGE_BYTES:
                raise ConceptError("concept", "the file is too large", f"at most {MAX_PACKAGE_BYTES} bytes")
            writer.write(chunk)
