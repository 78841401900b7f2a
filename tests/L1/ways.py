"""One request on every way that leads to the same thing: what one way refuses the others must refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from streamed import elements, stream_body
from tritonclient.grpc import service_pb2 as pb

from serving.front.wire import SERVICE

Metadata = Sequence[tuple[str, str]]
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
"""Options of a channel that shares its connection with no other one."""


@dataclass(frozen=True)
class Way:
    """A model, by a method of Triton's protocol."""

    model: str
    method: str = "ModelInfer"

    def __str__(self) -> str:
        return f"{self.model}-{self.method}"


STREAMING = "ModelStreamInfer"
TO_PICTURES = (Way("vico"), Way("vico", STREAMING), Way("vico_stream", STREAMING))
TO_THE_LIST = (Way("vico_concepts"), Way("vico_concepts", STREAMING))


@dataclass(frozen=True)
class Outcome:
    """How one call ended, and what came before."""

    status: str
    words: str = ""
    tensors: dict[str, list[bytes]] = field(default_factory=dict)
    """All elements of all responses."""

    def info(self) -> dict[str, Any]:
        """Of pictures."""
        return dict(json.loads(self.tensors["info"][0]))

    def concepts(self) -> dict[str, str]:
        """Of the list: version by name."""
        listed = json.loads(self.tensors["concepts"][0])
        return {concept["name"]: concept["version"] for concept in listed["concepts"]}


def outcome_on(way: Way, channel: Any, metadata: Metadata = (), **fields: Any) -> Outcome:
    """Call, and read to the end."""
    return outcome_of(stream_body(way.model, **fields), way, channel, metadata)


def outcome_of(body: bytes, way: Way, channel: Any, metadata: Metadata = ()) -> Outcome:
    """The same with a message of one's own. Status "": no more than a text in a stream, as Triton tells errors."""
    found: dict[str, list[bytes]] = {}
    told = ""
    try:
        # to its end, also after an error: Triton bears it badly when a stream is broken off just then
        for response, words in _responses(way, channel, body, tuple(metadata)):
            told = told or words
            for tensor, content in zip(response.outputs, response.raw_output_contents, strict=True):
                found.setdefault(tensor.name, []).extend(elements(content))
    except grpc.RpcError as error:
        return Outcome(error.code().name, error.details() or "", found)
    return Outcome("", told, found) if told else Outcome("OK", "", found)


def _responses(way: Way, channel: Any, body: bytes, metadata: Metadata) -> Iterator[tuple[Any, str]]:
    """Each with the text of its error."""
    if way.method == STREAMING:
        for answer in channel.stream_stream(SERVICE + STREAMING)(iter([body]), timeout=120, metadata=metadata):
            message = pb.ModelStreamInferResponse.FromString(answer)
            yield message.infer_response, message.error_message
    else:
        answer = channel.unary_unary(SERVICE + way.method)(body, timeout=120, metadata=metadata)
        yield pb.ModelInferResponse.FromString(answer), ""
