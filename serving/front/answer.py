"""What Triton answers, before a client has it."""

from __future__ import annotations

from collections.abc import Collection

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from serving.errors import Relayed, to_wire
from serving.front.refusal import bare, unavailable

_CODES = {
    "INVALID_ARG": grpc.StatusCode.INVALID_ARGUMENT,
    "NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
}


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


def stream_error(answer: bytes) -> grpc.RpcError | None:
    """What a `ModelStreamInferResponse` says went wrong, as a unary call would have had it; None: nothing did.

    Triton would end the stream with the error's status if it were asked to (`triton_grpc_error`): of streams that a
    stage refuses, one in some hundred then ended Triton 2.51.
    """
    text = pb.ModelStreamInferResponse.FromString(answer).error_message
    if not text:
        return None
    told = Relayed.from_message(bare(text))
    code, line = grpc.StatusCode.INTERNAL, text
    if told is not None:
        wire = to_wire(told)
        code, line = _CODES.get(wire.code, code), wire.message
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), line)
