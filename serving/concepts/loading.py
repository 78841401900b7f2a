"""Bringing a registry's files into the store: in the request that asks (a folder), or beside it (an object store)."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, RLock

from serving.concepts.admission import Admission
from serving.concepts.head import ConceptHead, head_of
from serving.concepts.source import SIGNATURE_SUFFIX, FileReplaced, Source, Stamp
from serving.concepts.store import ConceptStore
from serving.errors import ConceptRefused, Overloaded, RegistryUnreachable
from vico.concept import ConceptPackage
from vico.errors import ConceptError, VicoError

MAX_VERSIONS = 8
"""Versions of one concept that can be asked for by digest without being kept in the registry."""
DOWNLOADS = 4
"""At once, from an object store."""
ATTEMPTS = 3
"""To read a file of a folder that is replaced meanwhile."""

_SETTLED_SECONDS = 0.1
"""A file written so recently could change again without its times showing it."""


@dataclass(frozen=True)
class Stamps:
    """A package's file, and its signature if that matters."""

    file: Stamp
    signature: Stamp | None = None


@dataclass
class Entry:
    """What is known about one file of the registry."""

    name: str
    concept_id: str
    digest: str = ""
    """The version that the file must hold; "" for a file that may change."""
    read: Stamps | None = None
    """Of the file when it was read; others mean read again."""
    current: ConceptHead | None = None
    error: VicoError | None = None
    """Why the file was refused, if it was."""
    versions: dict[str, ConceptHead] = field(default_factory=dict)
    first_seen: tuple[Stamps, float] | None = None
    """The file as it is now, and since when by the monotonic clock."""
    fetching: Future[None] | None = None
    lock: RLock = field(default_factory=RLock)


class Loader:
    """Copies into the store what a server may take.

    Args:
        source: the registry's files.
        store: where verified copies go.
        admission: what a package must be.
        store_bytes: bound on the copies.
    """

    def __init__(self, source: Source, store: ConceptStore, admission: Admission, store_bytes: int) -> None:
        self._source = source
        self.store = store
        self._admission = admission
        self._store_bytes = store_bytes
        self._reserved_bytes = 0
        self._room = Lock()
        self._downloads = ThreadPoolExecutor(DOWNLOADS, "download")
        self.pinned: Collection[str] = ()
        """Digests that stay in the store."""
        store.clear_partials()

    @property
    def free_bytes(self) -> int:
        """Room in the store without evicting anything."""
        return self._store_bytes - self.store.use.disk_bytes - self._reserved_bytes

    def stamps(self, name: str) -> Stamps | None:
        """How the file is now; None if there is none. Raises RegistryUnreachable."""
        stamp = self._source.find(name)
        if stamp is None:
            return None
        signed = self._admission.signatures is not None
        return Stamps(stamp, self._source.find(name + SIGNATURE_SUFFIX) if signed else None)

    def kept(self, head: ConceptHead) -> bool:
        """Whether a version is in the store; it counts as used now."""
        return self.store.touch(head.digest)

    def bring_up_to_date(self, entry: Entry, stamps: Stamps) -> None:
        """Load the file if it is not the one that was read; beside the caller where it is far away. Never raises."""
        with entry.lock:
            if entry.current is not None and not self.kept(entry.current):
                entry.current = entry.read = None
            if entry.first_seen is None or entry.first_seen[0] != stamps:
                entry.first_seen = (stamps, time.monotonic())
            if entry.read == stamps:
                return
            if self._source.live:
                self._load(entry, stamps)
            elif entry.fetching is None or entry.fetching.done():
                entry.fetching = self._downloads.submit(self._load, entry, stamps)

    def close(self) -> None:
        """Begin no further downloads, and wait for those under way."""
        self._downloads.shutdown(cancel_futures=True)

    def _load(self, entry: Entry, stamps: Stamps) -> None:
        try:
            package = self._taken(entry, stamps)
        except VicoError as error:
            with entry.lock:
                self._refused(entry, stamps, error)
        except FileNotFoundError:
            # gone since it was seen: the next look tells
            with entry.lock:
                entry.read = None
        else:
            with entry.lock:
                head = head_of(package)
                entry.current, entry.error = head, None
                entry.versions.pop(head.digest, None)
                entry.versions = dict([*entry.versions.items(), (head.digest, head)][-MAX_VERSIONS:])
                entry.read = stamps if _settled(entry, stamps) else None

    def _refused(self, entry: Entry, stamps: Stamps, error: VicoError) -> None:
        lasting = not isinstance(error, Overloaded | RegistryUnreachable | FileReplaced)
        entry.read = stamps if lasting and _settled(entry, stamps) else None
        if isinstance(error, ConceptError):
            error = ConceptRefused("concept", f"{entry.concept_id!r}: {error.problem}", error.accepted)
        entry.error = error

    def _taken(self, entry: Entry, stamps: Stamps, attempts: int = ATTEMPTS) -> ConceptPackage:
        """The package in the store."""

        def check(package: ConceptPackage, file: Path) -> None:
            self._admission.check(package)
            if entry.digest not in ("", package.digest):
                raise ConceptError("concept", "the file holds another version", f"version {entry.digest[:12]}")
            signature = self._source.read(entry.name + SIGNATURE_SUFFIX) if stamps.signature else None
            self._admission.check_signature(package, entry.concept_id, file, signature)

        try:
            with self._reserved(stamps.file.size_bytes):
                return self.store.adopt(lambda path: self._source.fetch(entry.name, stamps.file, path), check)
        except FileReplaced:
            now = self.stamps(entry.name) if self._source.live else None
            if now is None or attempts == 1:
                raise
        return self._taken(entry, now, attempts - 1)

    @contextmanager
    def _reserved(self, size_bytes: int) -> Iterator[None]:
        """Room for a copy in the making, so that several at once keep the bound."""
        with self._room:
            self.store.trim(self._store_bytes - self._reserved_bytes - size_bytes, self.pinned)
            self._reserved_bytes += size_bytes
        try:
            yield
        finally:
            with self._room:
                self._reserved_bytes -= size_bytes


def _settled(entry: Entry, stamps: Stamps) -> bool:
    """Whether a later change of the file must show in its times, so that it need not be read again.

    Times ahead of our clock are another clock's: then only the time that passed here since the file was first seen so
    tells.
    """
    age = time.time() - max(stamp.changed for stamp in (stamps.file, stamps.signature) if stamp is not None)
    if entry.first_seen is None or entry.first_seen[0] != stamps:
        return False
    waited = time.monotonic() - entry.first_seen[1]
    return age > _SETTLED_SECONDS or (age < 0 and waited > _SETTLED_SECONDS)
