"""Verified concept packages by digest: a private folder that all processes of one server share."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from serving.cache import ByteLRU
from serving.errors import ConceptNotFound, Overloaded
from vico.concept import ConceptPackage, read_package
from vico.errors import ConceptError

IN_USE_SECONDS = 600
"""A version that a request resolved to within this time is never evicted from disk: the later stages, which read it
when they take the request over, must find it. A request that waits for longer marks it again, see
`serving.entrance`."""
MAX_MAPPED = 512
"""Packages in host memory that are mapped, at most: each keeps a descriptor, of which a process often has 1024."""
MAPPED_FROM_BYTES = 2**20
"""What is smaller is read into memory: it gains nothing from being mapped."""
LEAST_BYTES = 16 * 2**10
"""What a package counts at least in host memory: a learned word takes some 5 KiB with its manifest, a preview more."""


@dataclass(frozen=True)
class StoreUse:
    """What the store holds."""

    versions: int
    disk_bytes: int
    host_versions: int
    host_bytes: int
    max_host_bytes: int


class ConceptStore:
    """Copies of packages that were verified once; nothing here changes after it was written.

    A registry's files may be replaced, truncated or removed at any moment. A copy is not: a request that resolved to a
    digest finds the same bytes in every stage, and no process maps a file that may shrink under it.

    Args:
        folder: private to this server.
        host_bytes: bound on the packages that this process keeps in memory.
    """

    def __init__(self, folder: Path, host_bytes: int) -> None:
        self._folder = folder
        self._host: ByteLRU[str, ConceptPackage] = ByteLRU(host_bytes, _counted_bytes)
        self._mapped_from_bytes = max(MAPPED_FROM_BYTES, host_bytes // MAX_MAPPED)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def folder(self) -> Path:
        """Where the copies are."""
        return self._folder

    def adopt(self, fetch: Callable[[Path], None], check: Callable[[ConceptPackage, Path], None]) -> ConceptPackage:
        """Take over what `fetch` writes: verify the copy, keep it under its digest if `check` lets it pass.

        Whatever goes wrong, nothing of it stays in the folder.

        Args:
            fetch: writes a new file at the path that it gets.
            check: of the verified package and its file; raises what it has against them.

        Raises:
            ConceptError: torn, altered or malformed; or what `fetch` and `check` raise.
        """
        partial = self._folder / f".{secrets.token_hex(8)}.partial"
        try:
            fetch(partial)
            package = read_package(partial)
            check(package, partial)
            _mark_used(partial)
            with self._locked():
                partial.replace(self._path(package.digest))
        finally:
            partial.unlink(missing_ok=True)
        return package

    def open(self, digest: str) -> ConceptPackage:
        """The package, from host memory or else from disk, verified again.

        Raises:
            ConceptNotFound: it is no longer kept.
            ConceptError: the copy was damaged on disk. It is deleted: the first stage fetches it again.
            OSError: it cannot be read now.
        """
        package = self._host.get(digest)
        if package is None:
            package = self._read(digest)
            self._host.put(digest, package)
        return package

    def touch(self, digest: str) -> bool:
        """Mark a version as used now; False if it is not kept."""
        try:
            _mark_used(self._path(digest))
        except FileNotFoundError:
            return False
        return True

    def mark(self, digests: Collection[str]) -> None:
        """Mark versions as used now, those of them that are kept."""
        for digest in digests:
            self.touch(digest)

    def warm(self, digest: str) -> None:
        """Bring a version into host memory if nothing else must leave for it; raises what `open` does."""
        if digest not in self._host:
            package = self._read(digest)
            if _counted_bytes(package) <= self._host.room_bytes:
                self._host.put(digest, package)

    @property
    def host_bytes(self) -> int:
        """Packages in host memory."""
        return self._host.size_bytes

    @property
    def max_host_bytes(self) -> int:
        """The bound on them."""
        return self._host.max_bytes

    def held(self) -> tuple[str, ...]:
        """Digests in host memory."""
        return tuple(sorted(self._host.keys()))

    def pin(self, digests: Collection[str]) -> None:
        """These versions, and no others, stay in host memory once they are there."""
        self._host.pin(digests)

    def evict(self, digest: str) -> None:
        """Drop a version from host memory, unless it is pinned there."""
        self._host.drop(digest)

    def trim(self, max_bytes: int, pinned: Collection[str] = ()) -> None:
        """Delete what was used longest ago until the folder holds at most `max_bytes`.

        What was used within `IN_USE_SECONDS` and what is in `pinned` stays.

        Raises:
            Overloaded: that is more than `max_bytes`.
        """
        kept = sorted((entry.stat().st_mtime, entry, entry.stat().st_size) for entry in self._copies())
        total = sum(size for _, _, size in kept)
        for used, entry, size in kept:
            if total > max_bytes and entry.stem not in pinned and not _in_use(used):
                total -= size
                entry.unlink(missing_ok=True)
        if total > max_bytes:
            raise Overloaded("concept", "no room to load it now", "a request without it, or a later one")

    def discard(self, digest: str) -> None:
        """Delete a version that nothing has used for `IN_USE_SECONDS`."""
        self._host.drop(digest)
        path = self._path(digest)
        if path.exists() and not _in_use(path.stat().st_mtime):
            path.unlink(missing_ok=True)

    @property
    def use(self) -> StoreUse:
        """The account now."""
        sizes = [entry.stat().st_size for entry in self._copies()]
        return StoreUse(len(sizes), sum(sizes), len(self._host), self._host.size_bytes, self._host.max_bytes)

    def clear_partials(self) -> None:
        """Remove what a process that was killed had not finished; only for the one process that adopts."""
        for partial in self._folder.glob(".*.partial"):
            partial.unlink(missing_ok=True)

    def check_integrity(self) -> None:
        """Raise AssertionError if the host cache's account is wrong, a torn copy was left behind, or a name lies."""
        self._host.check_integrity()
        if list(self._folder.glob(".*.partial")):
            raise AssertionError("the store holds an unfinished copy")
        for entry in self._copies():
            if read_package(entry).digest != entry.stem:
                raise AssertionError(f"{entry.stem} is another version")

    def _copies(self) -> list[Path]:
        return list(self._folder.glob("*.safetensors"))

    def _read(self, digest: str) -> ConceptPackage:
        try:
            return self._verified(digest)
        except FileNotFoundError:
            raise ConceptNotFound("concept", "this version is no longer kept", "a version in use") from None
        except ConceptError:
            self._delete_damaged(digest)
            raise ConceptError("concept", "its copy was damaged in the server", "the same request later") from None

    def _verified(self, digest: str) -> ConceptPackage:
        package = read_package(self._path(digest), mapped=True, mapped_from_bytes=self._mapped_from_bytes)
        if package.digest != digest:
            raise ConceptError("concept", "its copy is another version", f"version {digest[:12]}")
        return package

    def _delete_damaged(self, digest: str) -> None:
        """Delete a copy, unless a good one has taken its place since it was read."""
        with self._locked(), suppress(FileNotFoundError):
            try:
                self._verified(digest)
            except ConceptError:
                self._path(digest).unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Meanwhile no process of the server puts a copy in another's place."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.safetensors"


def _counted_bytes(package: ConceptPackage) -> int:
    return max(package.size_bytes, LEAST_BYTES)


def _mark_used(path: Path) -> None:
    """Times here are of the machine's monotonic clock, which all its processes share and nobody can set."""
    now = time.monotonic_ns()
    os.utime(path, ns=(now, now))


def _in_use(used: float) -> bool:
    # after a restart of the machine its clock is behind the marks: those are old, too
    return 0 <= time.monotonic() - used < IN_USE_SECONDS
