"""Who asks: what the front door knows of a caller, sealed for the first stage."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from serving.errors import InvalidField
from serving.fields import RawFields
from serving.seal import Seal

TENSOR = "caller"
"""Input of the ensemble that carries a caller; a client that sends it by itself is refused at the door."""

CANARY_CALL = "canary"
"""`Caller.call` of the supervisor's own requests; the front door's are hexadecimal numbers."""


@dataclass(frozen=True)
class Caller:
    """One call of one client."""

    client: str
    """Whose key was shown, and which of its users; clients get equal shares."""
    tenant: str
    """Whose concepts the client may use."""
    concepts: tuple[str, ...]
    """Patterns (`*`, `?`) of the concept ids that are there for the tenant."""
    call: str
    """Names this one call among all: what a cancellation names. Never the client's own request id, which may repeat."""

    def sees(self, concept: str) -> bool:
        """Whether `id` or `id@digest` is there for this caller."""
        concept_id = concept.partition("@")[0]
        return any(fnmatchcase(concept_id, pattern) for pattern in self.concepts)

    def sealed(self, seal: Seal) -> bytes:
        """For the tensor."""
        return seal.of(TENSOR).close(json.dumps(asdict(self)))


def caller_of(inputs: RawFields, seal: Seal) -> Caller:
    """The caller that the front door names.

    Raises:
        InvalidField: the request did not come through the front door.
    """
    if TENSOR not in inputs:
        raise InvalidField(TENSOR, "not sealed by the server", "calls of the model `vico`")
    fields = json.loads(seal.of(TENSOR).open(inputs[TENSOR][0]))
    return Caller(**fields | {"concepts": tuple(fields["concepts"])})
