"""Which concepts there are: the model `vico_concepts`, one request and one answer."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field

from vico_client.decode import NONSENSE, bytes_elements
from vico_client.errors import InvalidRequest, ServerError
from vico_client.wire import Tensor, read_answer, request_message

CONCEPTS_MODEL = "vico_concepts"


@dataclass(frozen=True)
class Concept:
    """A name for `generate(concept=...)`.

    name: id or alias. version: `name@digest` that it stands for now, "" while the server has not loaded it yet.
    """

    name: str
    version: str


@dataclass(frozen=True)
class ConceptsRequest:
    """An `Exchange`. pattern: `*` and `?` stand for any characters and for one."""

    pattern: str
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    key: str = "concepts"

    def message(self, timeout: float) -> bytes:
        """See `Exchange`."""
        if not isinstance(self.pattern, str):
            raise InvalidRequest(f"{self.pattern!r} is not text", field="pattern", hint="a str")
        tensor = Tensor("pattern", "BYTES", self.pattern.encode("utf-8", "replace"))
        return request_message([tensor], self.request_id, timeout, CONCEPTS_MODEL, ["concepts"])

    def read(self, message: bytes) -> ConceptList:
        """See `Exchange`."""
        try:
            (text,) = bytes_elements(read_answer(message), "concepts")
            answer = json.loads(bytes(text))
            found = [Concept(str(item["name"]), str(item["version"])) for item in answer["concepts"]]
            return ConceptList(found, more=bool(answer["more"]))
        except NONSENSE as error:
            raise ServerError(f"malformed answer: {error}", request_id=self.request_id) from error


class ConceptList(list[Concept]):
    """Concepts by name. more: whether there are further ones than the server lists at once; narrow the pattern."""

    def __init__(self, concepts: list[Concept], *, more: bool) -> None:
        super().__init__(concepts)
        self.more = more
