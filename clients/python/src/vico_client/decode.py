"""A KServe-v2 answer as pictures and info. Whatever breaks the contract becomes a ServerError that names the output."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
from PIL import Image

from vico_client.errors import ServerError
from vico_client.messages import GenerateInfo, GenerateRequest, GenerateResult, ServerWarning
from vico_client.wire import read_answer

_LENGTH = struct.Struct("<I")
NONSENSE = (
    *(AttributeError, LookupError, TypeError, ValueError, struct.error),  # tensors and JSON
    *(OSError, SyntaxError, Image.DecompressionBombError),  # Pillow
)
_FORMATS = ("PNG", "JPEG", "WEBP")


def decode_message(message: bytes, request: GenerateRequest) -> GenerateResult:
    """As `decode_result`, of a message as it came; `files` of the result are views of it."""
    try:
        answer = read_answer(message)
    except ValueError as error:
        raise ServerError(f"malformed answer: {error}", request_id=request.request_id) from error
    return decode_result(answer, request)


def decode_result(response: Any, request: GenerateRequest) -> GenerateResult:
    """response: `Answer` or ModelInferResponse, `images` BYTES [n] and `info` BYTES [1]; ServerError if it is not."""
    try:
        info = read_info(_only(bytes_elements(response, "info")))
        files = tuple(bytes_elements(response, "images"))
        if len(files) != (request.num_images or len(files)):
            raise ValueError(f"{len(files)} images for the {request.num_images} asked for")
        size = (info.height, info.width) if request.output_format == "raw" else None
        images = tuple(read_image(file, size) for file in files)
    except NONSENSE as error:
        raise ServerError(f"malformed answer: {error}", request_id=request.request_id) from error
    return GenerateResult(images, files, info, request.request_id)


def bytes_elements(response: Any, name: str) -> list[memoryview]:
    """The elements of a BYTES output: each is a little-endian uint32 length and that many bytes; views, no copies."""
    index = [output.name for output in response.outputs].index(name)
    content = memoryview(response.raw_output_contents[index])
    elements = []
    while content:
        (length,) = _LENGTH.unpack_from(content)
        if length > len(content) - _LENGTH.size:
            raise ValueError(f"{name} is cut off")
        elements.append(content[_LENGTH.size : _LENGTH.size + length])
        content = content[_LENGTH.size + length :]
    return elements


def _only(elements: list[memoryview]) -> memoryview:
    (element,) = elements
    return element


def read_info(text: memoryview) -> GenerateInfo:
    """The `info` output. Unknown keys are left alone: a newer server may say more."""
    info = json.loads(bytes(text))
    return GenerateInfo(
        seed=int(info["seed"]),
        steps=int(info["steps"]),
        sampler=str(info["sampler"]),
        height=int(info["height"]),
        width=int(info["width"]),
        concept=str(info["concept"]),
        warnings=tuple(ServerWarning(str(item["code"]), str(item["message"])) for item in info["warnings"]),
        timings={str(stage): float(seconds) for stage, seconds in info["timings"].items()},
        preset=str(info.get("preset", "")),
    )


def read_image(file: memoryview, raw_size: tuple[int, int] | None = None) -> Image.Image:
    """A picture from its file, or from the bare RGB bytes of one of this height and width."""
    if raw_size is not None:
        return Image.fromarray(np.frombuffer(file, dtype=np.uint8).reshape(*raw_size, 3))
    image = Image.open(io.BytesIO(file), formats=_FORMATS)
    image.load()
    return image
