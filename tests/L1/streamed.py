"""Calls of `vico_stream` without any client of ours."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from PIL import Image
from tritonclient.grpc import service_pb2 as pb

from serving.front.wire import SERVICE

_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]
_LONG = {"seed"}


def stream_body(model: str = "vico_stream", **fields: Any) -> bytes:
    """A `ModelInferRequest`; texts are BYTES, whole numbers INT32, fractions FP32."""
    request = pb.ModelInferRequest(model_name=model, id="given")
    for name, value in fields.items():
        if isinstance(value, str | bytes):
            content = value.encode() if isinstance(value, str) else value
            datatype, raw = "BYTES", len(content).to_bytes(4, "little") + content
        elif isinstance(value, float):
            datatype, raw = "FP32", np.float32(value).tobytes()
        else:
            datatype, raw = (
                ("INT64", np.int64(value).tobytes()) if name in _LONG else ("INT32", np.int32(value).tobytes())
            )
        request.inputs.add(name=name, datatype=datatype, shape=[1])
        request.raw_input_contents.append(raw)
    message: bytes = request.SerializeToString()
    return message


@dataclass(frozen=True)
class Event:
    """One response of a stream."""

    event: dict[str, Any]
    preview: list[bytes]
    images: list[bytes]
    info: list[bytes]

    @property
    def kind(self) -> str:
        return str(self.event["type"])

    def thumbnails(self) -> list[npt.NDArray[np.uint8]]:
        return [np.asarray(Image.open(io.BytesIO(file))) for file in self.preview]

    @staticmethod
    def of(answer: bytes) -> Event:
        message = pb.ModelStreamInferResponse.FromString(answer)
        assert not message.error_message, message.error_message
        response = message.infer_response
        values = {
            tensor.name: elements(content)
            for tensor, content in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        return Event(json.loads(values["event"][0]), values["preview"], values["images"], values["info"])


class Stream:
    """One stream on a connection of its own."""

    def __init__(self, address: str, timeout: float | None = 120, **fields: Any) -> None:
        self.channel = grpc.insecure_channel(address, options=_OPTIONS)
        ask = self.channel.stream_stream(SERVICE + "ModelStreamInfer")
        self.call = ask(iter([stream_body(**fields)]), timeout=timeout)

    def __iter__(self) -> Iterator[Event]:
        for answer in self.call:
            yield Event.of(answer)

    def close(self) -> None:
        self.channel.close()


def stream(address: str, **fields: Any) -> list[Event]:
    """All responses of one stream."""
    asked = Stream(address, **fields)
    try:
        return list(asked)
    finally:
        asked.close()


def elements(content: bytes) -> list[bytes]:
    """Of a BYTES tensor."""
    found = []
    while content:
        end = 4 + int.from_bytes(content[:4], "little")
        found.append(content[4:end])
        content = content[end:]
    return found
