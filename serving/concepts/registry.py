"""The registry: a folder of `<id>.safetensors`. What a concept's name stands for right now."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from serving.concepts.store import ConceptStore
from serving.errors import ConceptNotFound, ConceptRefused, Overloaded
from serving.report import Notice
from vico.concept import ConceptPackage, GraphSet, ReferenceContext, validate_concept_id
from vico.errors import ConceptError, VicoError

MAX_VECTORS = 16
MAX_REFERENCES = 16
MAX_VERSIONS = 8
"""Versions of one concept that can be asked for by digest."""

_SETTLED_SECONDS = 0.1
"""A file written so recently could change again without its times showing it."""


@dataclass(frozen=True, eq=False)
class ConceptHead:
    """What the first stage must know of one version of a concept."""

    digest: str
    placeholder: str
    token_embedding: npt.NDArray[np.float32]
    """[V, D]"""
    token_only: bool = False
    """A learned word without image attention: its pictures are plain Stable Diffusion's."""
    reference_context: ReferenceContext = "prompt"
    """What the reference stream reads."""
    negative_image_guidance: float = 1.0
    """Share of the image guidance that guidance's negative half gets."""


@dataclass(frozen=True)
class Resolved:
    """A name, resolved."""

    head: ConceptHead
    warnings: tuple[Notice, ...] = ()


@dataclass
class _Entry:
    """What is known about one file of the folder."""

    key: tuple[int, ...] = ()
    """Identity and times of the file when it was read; another key means read again."""
    current: ConceptHead | None = None
    error: VicoError | None = None
    """Why the file was refused, if it was."""
    versions: dict[str, ConceptHead] = field(default_factory=dict)


class Registry:
    """Concepts by name. A new or replaced file counts from the next request on; the digest, not the path, is identity.

    Args:
        folder: of `<id>.safetensors`; may change at any time.
        store: where verified copies go.
        graphset: whose base a concept must have been trained on.
        store_bytes: bound on the copies.
    """

    def __init__(self, folder: Path, store: ConceptStore, graphset: GraphSet, store_bytes: int) -> None:
        self._folder = folder
        self._store = store
        self._graphset = graphset
        self._store_bytes = store_bytes
        self._entries: dict[str, _Entry] = {}
        self._lock = Lock()

    def resolve(self, name: str) -> Resolved:
        """Resolve `id` to the newest good version, or `id@digest` to exactly that one.

        A file that turned bad does not take away the version that was loaded before it: that one is served, with the
        warning `concept_stale`.

        Raises:
            ConceptNotFound: no such file, or no such version.
            ConceptRefused: the file is damaged or made for another base, and no good version was loaded before.
        """
        concept_id, _, digest = name.partition("@")
        validate_concept_id(concept_id)
        with self._lock:
            entry = self._refreshed(concept_id)
            if digest:
                return Resolved(self._version(entry, concept_id, digest))
            if entry.current is None:
                raise _refusal(entry, f"no concept {concept_id!r}")
            return Resolved(entry.current, _stale(entry))

    def _version(self, entry: _Entry, concept_id: str, digest: str) -> ConceptHead:
        head = entry.versions.get(digest)
        if head is None or not self._store.touch(digest):
            raise _refusal(entry, f"{concept_id!r} has no such version")
        return head

    def _refreshed(self, concept_id: str) -> _Entry:
        path = self._folder / f"{concept_id}.safetensors"
        try:
            key = _file_key(path)
            entry = self._entries.setdefault(concept_id, _Entry())
            if entry.current is not None and not self._store.touch(entry.current.digest):
                entry.current, entry.key = None, ()
            if entry.key != key:
                self._reload(entry, concept_id, path, key)
        except OSError:
            self._entries.pop(concept_id, None)
            raise _refusal(_Entry(), f"no concept {concept_id!r}") from None
        return entry

    def _reload(self, entry: _Entry, concept_id: str, path: Path, key: tuple[int, ...]) -> None:
        try:
            package = self._store.adopt(path, self._check)
        except ConceptError as error:
            entry.error = ConceptRefused("concept", f"{concept_id!r}: {error.problem}", error.accepted)
        except Overloaded as error:
            entry.error, key = error, ()
        else:
            head = _head(package)
            entry.current, entry.error = head, None
            entry.versions.pop(head.digest, None)
            entry.versions = dict([*entry.versions.items(), (head.digest, head)][-MAX_VERSIONS:])
            self._store.trim(self._store_bytes)
        entry.key = key if _file_key(path) == key and _settled(key) else ()

    def _check(self, package: ConceptPackage) -> None:
        """A package may be whole and still not fit this server's graphs."""
        package.require_base(self._graphset.base_digest)
        if not package.manifest.token_only and package.manifest.sites != self._graphset.sites:
            raise ConceptError("concept", "its sites are not those of the base", "a concept trained on this base")
        vectors, width = package.token_embedding.shape
        if vectors > MAX_VECTORS or width != self._graphset.context_width:
            wanted = f"1 to {MAX_VECTORS} vectors of width {self._graphset.context_width}"
            raise ConceptError("concept", f"its token embedding is {vectors} x {width}", wanted)
        if package.manifest.token_only:
            return
        count, _, height, width = package.references.shape
        multiple = self._graphset.size_multiple // self._graphset.vae_factor
        limit = self._graphset.max_size // self._graphset.vae_factor
        if count > MAX_REFERENCES or height % multiple or width % multiple or max(height, width) > limit:
            wanted = f"at most {MAX_REFERENCES}, sides a multiple of {multiple} up to {limit}"
            raise ConceptError("concept", f"its references are {count} of {height} x {width}", wanted)


def _head(package: ConceptPackage) -> ConceptHead:
    manifest, embedding = package.manifest, package.token_embedding.astype(np.float32)
    return ConceptHead(
        package.digest,
        manifest.placeholder,
        embedding,
        manifest.token_only,
        manifest.reference_context,
        manifest.negative_image_guidance,
    )


def _stale(entry: _Entry) -> tuple[Notice, ...]:
    if entry.error is None:
        return ()
    problem = f"the newest file is refused, the version before it is served: {entry.error.problem}"
    return (Notice("concept_stale", problem),)


def _refusal(entry: _Entry, absent: str) -> VicoError:
    """Why a file was refused; without such a reason, that the concept is not there."""
    if entry.error is None:
        return ConceptNotFound("concept", absent, "a concept in the registry, or one of its versions")
    # an exception that is raised again and again would otherwise gather tracebacks for ever
    return entry.error.with_traceback(None)


def _file_key(path: Path) -> tuple[int, ...]:
    status = os.stat(path)  # noqa: PTH116 - one call, all fields
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _settled(key: tuple[int, ...]) -> bool:
    """Whether a later change of the file must show in its times; a time in the future is another clock's."""
    return bool(key) and abs(time.time() - max(key[3:]) / 1e9) > _SETTLED_SECONDS
