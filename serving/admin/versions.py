"""A registry's files as the operator sees them: heads without tensors, and versions that are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from serving.concepts.source import (
    MAX_DOCUMENT_BYTES,
    SIGNATURE_SUFFIX,
    SUFFIX,
    VERSIONS_FOLDER,
    Source,
    Stamp,
    package_name,
    version_name,
)
from serving.errors import ConceptNotFound, Overloaded
from vico.concept import Manifest, parse_manifest, read_package

ACCEPTED = "a concept in the registry, or one of its versions"


@dataclass(frozen=True)
class Head:
    """What the first bytes of a package tell; its tensors are not verified."""

    manifest: Manifest
    digest: str
    size_bytes: int


class Versions:
    """Reads and keeps versions in one registry."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._heads: dict[str, tuple[Stamp, Head]] = {}

    def ids(self) -> list[str]:
        """Concepts that have a file."""
        return sorted(name.removesuffix(SUFFIX) for name in self._source.names("") if name.endswith(SUFFIX))

    def kept(self, concept_id: str) -> list[str]:
        """Digests of a concept's kept versions."""
        prefix = f"{VERSIONS_FOLDER}/{concept_id}@"
        names = [name for name in self._source.names(VERSIONS_FOLDER) if name.endswith(SUFFIX)]
        return sorted(name[len(prefix) : -len(SUFFIX)] for name in names if name.startswith(prefix))

    def head(self, concept_id: str, digest: str = "") -> Head:
        """Of a kept version, or of the concept's file if that is the version asked for.

        Raises:
            ConceptNotFound: there is neither.
            ConceptError: the file is torn.
        """
        if digest and (kept := self._head(version_name(concept_id, digest))):
            return kept
        current = self._head(package_name(concept_id))
        if current is None:
            raise _absent(concept_id)
        if digest not in ("", current.digest):
            raise ConceptNotFound("concept", f"{concept_id!r} has no such version", ACCEPTED)
        return current

    def signed(self, concept_id: str) -> bool:
        """Whether a signature lies beside the concept's file."""
        return self._source.find(package_name(concept_id) + SIGNATURE_SUFFIX) is not None

    def keep(self, concept_id: str, digest: str) -> None:
        """Keep a version in the registry, whatever becomes of the concept's file; verified whole on the way.

        Raises:
            ConceptNotFound: the file is another version by now.
            ConceptError: it is damaged.
            Overloaded: there is no room; nothing of it is left in the registry.
        """
        name = version_name(concept_id, digest)
        if self._source.find(name) is not None:
            return
        with ExitStack() as stack:
            try:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vico-admin-")))
                files = self._fetched(concept_id, digest, folder)
            except (OSError, Overloaded):
                accepted = "a folder TMPDIR with room that may be written to"
                raise Overloaded("registry", "no room for a temporary copy", accepted) from None
            self._put(name, *files)
        self._source.poll()

    def drop(self, versions: Collection[str]) -> None:
        """Delete kept versions `id@digest`."""
        for version in versions:
            concept_id, _, digest = version.partition("@")
            self._delete(version_name(concept_id, digest))

    def delete(self, concept_id: str) -> None:
        """Delete a concept's file."""
        self._delete(package_name(concept_id))

    def _fetched(self, concept_id: str, digest: str, folder: Path) -> tuple[Path, Path | None]:
        """Verified copies in `folder`: of the concept's file, and of its signature if there is one."""
        name, package, signature = package_name(concept_id), folder / "package", folder / "signature"
        stamp = self._source.find(name)
        if stamp is None:
            raise _absent(concept_id)
        try:
            self._source.fetch(name, stamp, package)
            if read_package(package).digest != digest:
                raise ConceptNotFound("concept", f"{concept_id!r} has no such version", ACCEPTED)
            if not self.signed(concept_id):
                return package, None
            signature.write_bytes(self._source.read(name + SIGNATURE_SUFFIX))
        except FileNotFoundError:
            raise _absent(concept_id) from None
        return package, signature

    def _put(self, name: str, package: Path, signature: Path | None) -> None:
        """Both or nothing; the signature first: a version that is there has its signature."""
        try:
            if signature is not None:
                self._source.put(name + SIGNATURE_SUFFIX, signature)
            self._source.put(name, package)
        except Overloaded:
            if self._source.find(name) is None:
                self._source.delete(name + SIGNATURE_SUFFIX)
            raise

    def _delete(self, name: str) -> None:
        self._source.delete(name)
        self._source.delete(name + SIGNATURE_SUFFIX)

    def _head(self, name: str) -> Head | None:
        stamp = self._source.find(name)
        if stamp is None:
            return None
        known = self._heads.get(name)
        if known is None or known[0] != stamp:
            manifest, digest = parse_manifest(self._source.read(name, MAX_DOCUMENT_BYTES))
            known = self._heads[name] = (stamp, Head(manifest, digest, stamp.size_bytes))
        return known[1]


def _absent(concept_id: str) -> ConceptNotFound:
    return ConceptNotFound("concept", f"no concept {concept_id!r}", ACCEPTED)
