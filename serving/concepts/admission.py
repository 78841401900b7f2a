"""What a whole package must also be before a server takes it: fit for the graphs, and signed where that is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serving.concepts.signature import SignaturePolicy
from vico.concept import ConceptPackage, GraphSet
from vico.errors import ConceptError

MAX_VECTORS = 16
MAX_REFERENCES = 16


@dataclass(frozen=True)
class Admission:
    """The rules of one server."""

    graphset: GraphSet
    """Whose base a concept must have been trained on."""
    signatures: SignaturePolicy | None = None
    """None: unsigned packages are taken."""

    def check(self, package: ConceptPackage) -> None:
        """Raise ConceptError if the package does not fit this server's graphs."""
        package.require_base(self.graphset.base_digest)
        if not package.manifest.token_only and package.manifest.sites != self.graphset.sites:
            raise ConceptError("concept", "its sites are not those of the base", "a concept trained on this base")
        vectors, width = package.token_embedding.shape
        if vectors > MAX_VECTORS or width != self.graphset.context_width:
            wanted = f"1 to {MAX_VECTORS} vectors of width {self.graphset.context_width}"
            raise ConceptError("concept", f"its token embedding is {vectors} x {width}", wanted)
        if not package.manifest.token_only:
            self._check_references(package)

    def check_signature(self, package: ConceptPackage, concept_id: str, file: Path, signature: bytes | None) -> None:
        """Raise ConceptError if signatures are asked for, and this is not the key's own, or not of `concept_id`."""
        if self.signatures is None:
            return
        if package.manifest.id != concept_id:
            # else one signed package could be passed off as another
            raise ConceptError("concept", "it was signed under another id", "a file named as its concept")
        self.signatures.verify(file, signature)

    def _check_references(self, package: ConceptPackage) -> None:
        count, _, height, width = package.references.shape
        multiple = self.graphset.size_multiple // self.graphset.vae_factor
        limit = self.graphset.max_size // self.graphset.vae_factor
        if count > MAX_REFERENCES or height % multiple or width % multiple or max(height, width) > limit:
            wanted = f"at most {MAX_REFERENCES}, sides a multiple of {multiple} up to {limit}"
            raise ConceptError("concept", f"its references are {count} of {height} x {width}", wanted)
