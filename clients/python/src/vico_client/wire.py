"""KServe-v2 messages as bytes, so that a photo or a picture is copied once on its way and not five times.

protobuf parses what it is given into memory of its own and hands out copies of that. But parsers take messages in parts
(https://protobuf.dev/programming-guides/encoding/#last-one-wins): here everything small is protobuf's business, and the
contents of tensors, which are the last field of a request, are put behind it, or looked up in an answer where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

MODEL = "vico"  # the ensemble's name in Triton
STREAM_MODEL = "vico_stream"
OUTPUTS = ("images", "info")
SERVICE = "/inference.GRPCInferenceService/"
INFER = SERVICE + "ModelInfer"
STREAM_INFER = SERVICE + "ModelStreamInfer"
MODEL_READY = SERVICE + "ModelReady"

Content = Union[bytes, memoryview]

_LENGTH_DELIMITED = 2
_FIXED = {1: 8, 5: 4}  # bytes of the other wire types that need no reading
_RAW_INPUT_CONTENTS = service_pb2.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_RAW_OUTPUT_CONTENTS = service_pb2.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number


@dataclass(frozen=True)
class Tensor:
    """An input of shape [1]. content: little-endian number, or the one element of BYTES without its length."""

    name: str
    datatype: str
    content: Content


@dataclass(frozen=True)
class Answer:
    """A ModelInferResponse whose contents are views of the message. outputs: protobuf's InferOutputTensor."""

    outputs: Sequence[Any]
    raw_output_contents: tuple[memoryview, ...]


def request_message(
    tensors: Sequence[Tensor], request_id: str, timeout: float, model: str = MODEL, outputs: Sequence[str] = OUTPUTS
) -> bytes:
    """A serialized ModelInferRequest; timeout: seconds after which the server need not go on."""
    message = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    message.parameters["timeout"].int64_param = max(1, round(timeout * 1e6))  # microseconds
    for tensor in tensors:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=[1])
    for name in outputs:
        message.outputs.add(name=name)
    parts: list[Content] = [message.SerializeToString()]
    for tensor in tensors:
        parts += _framed(tensor)
    return b"".join(parts)


def read_answer(message: bytes) -> Answer:
    """A serialized ModelInferResponse. ValueError if it is none."""
    view, position, rest, contents = memoryview(message), 0, bytearray(), []
    while position < len(view):
        start = position
        tag, position = _varint(view, position)
        if tag & 7 == _LENGTH_DELIMITED:
            size, position = _varint(view, position)
        elif tag & 7 == 0:
            size = _varint(view, position)[1] - position
        else:
            size = _FIXED.get(tag & 7, len(view))
        end = position + size
        if end > len(view):
            raise ValueError("the message is cut off")
        if tag == _RAW_OUTPUT_CONTENTS << 3 | _LENGTH_DELIMITED:
            contents.append(view[position:end])
        else:
            rest += view[start:end]
        position = end
    try:
        outputs = service_pb2.ModelInferResponse.FromString(bytes(rest)).outputs
    except DecodeError as error:
        raise ValueError("not a ModelInferResponse") from error
    return Answer(outputs, tuple(contents))


def stream_answer(message: bytes) -> bytes:
    """The ModelInferResponse in a serialized ModelStreamInferResponse. ValueError if there is none."""
    try:
        response = service_pb2.ModelStreamInferResponse.FromString(message)
    except DecodeError as error:
        raise ValueError("not a ModelStreamInferResponse") from error
    if response.error_message:
        raise ValueError(response.error_message)
    answer: bytes = response.infer_response.SerializeToString()
    return answer


def _framed(tensor: Tensor) -> list[Content]:
    """The tensor's part of a ModelInferRequest, not yet joined."""
    size = len(tensor.content)
    length = size.to_bytes(4, "little") if tensor.datatype == "BYTES" else b""
    tag = _RAW_INPUT_CONTENTS << 3 | _LENGTH_DELIMITED
    return [bytes([tag]) + _as_varint(size + len(length)) + length, tensor.content]


def _as_varint(number: int) -> bytes:
    septets = bytearray()
    while number > 127:
        septets.append(number & 127 | 128)
        number >>= 7
    septets.append(number)
    return bytes(septets)


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """(number, position behind it)"""
    number = shift = 0
    while shift < 64 and position < len(view):
        septet = view[position]
        position += 1
        number |= (septet & 127) << shift
        if septet < 128:
            return number, position
        shift += 7
    raise ValueError("not a protobuf message")
