"""What Triton answers, before a client has it."""

from __future__ import annotations

from collections.abc import Collection

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from serving.front.refusal import unavailable


def require_whole(answer: bytes, wanted: Collection[str]) -> bytes:
    """The `ModelInferResponse`, if it has the outputs that were asked for; any, where none was named.

    An ensemble whose stage dies with the answer in its hands has been seen to answer, and without them.

    Raises:
        Refused: it has not, and the same request may be answered by the stage's successor.
    """
    try:
        there = {output.name for output in pb.ModelInferResponse.FromString(answer).outputs}
    except DecodeError:
        there = set()
    if not there or set(wanted) - there:
        raise unavailable("a part of the server that it needed has died")
    return answer
