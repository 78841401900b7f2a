"""A request as KServe-v2 input tensors, shape [1] each.

Checked here is only what cannot be put on the wire (types, NaN, numbers beyond the datatype); limits are the server's.
"""

from __future__ import annotations

import io
import math
import operator
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tritonclient.grpc import InferInput

from vico_client.errors import InvalidRequest
from vico_client.messages import GenerateRequest

_MODES_OF_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def infer_inputs(request: GenerateRequest) -> list[InferInput]:
    """The input tensors of `request`, only of the fields that are not None. InvalidRequest names a bad field."""
    return [
        _infer_input(spec.name, spec.metadata["datatype"], getattr(request, spec.name))
        for spec in fields(request)
        if "datatype" in spec.metadata and (spec.name == "prompt" or getattr(request, spec.name) is not None)
    ]


def _infer_input(name: str, datatype: str, value: object) -> InferInput:
    tensor = InferInput(name, [1], datatype)
    tensor.set_data_from_numpy(_ENCODERS[datatype](name, value))
    return tensor


def _text_or_image(name: str, value: object) -> NDArray[Any]:
    data = _image_bytes(name, value) if name == "reference_image" else _utf8(name, value)
    return np.array([data], dtype=np.object_)


def _utf8(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise InvalidRequest(f"{_named(value)} is not text", field=name, hint="a str")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"character {error.start} is half of a surrogate pair", field=name, hint="text that UTF-8 can hold"
        ) from None


def _integer(dtype: type[np.signedinteger[Any]]) -> Callable[[str, object], NDArray[Any]]:
    def encode(name: str, value: object) -> NDArray[Any]:
        limits = np.iinfo(dtype)
        try:
            number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            number = None
        if number is None or not limits.min <= number <= limits.max:
            raise InvalidRequest(f"{_named(value)} is not a {limits.bits}-bit integer", field=name, hint="an int")
        return np.array([number], dtype=dtype)

    return encode


def _float32(name: str, value: object) -> NDArray[Any]:
    try:
        number = math.nan if isinstance(value, (bool, str, bytes)) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    with np.errstate(over="ignore"):
        tensor = np.array([number], dtype=np.float32)
    if not np.isfinite(tensor[0]):
        raise InvalidRequest(f"{_named(value)} is not a finite number", field=name, hint="a finite float")
    return tensor


def _image_bytes(name: str, value: object) -> bytes:
    try:
        if isinstance(value, Image.Image):
            return _png(value)
        if isinstance(value, (str, os.PathLike)):
            return Path(value).read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot be read: {error}", field=name, hint="a readable image") from error
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise InvalidRequest(f"{_named(value)} is not an image", field=name, hint="a PIL image, a path or bytes")


def _png(image: Image.Image) -> bytes:
    """Lossless, upright (EXIF orientation does not survive a PNG), in a mode that PNG has."""
    upright = ImageOps.exif_transpose(image) or image
    writable = upright if upright.mode in _MODES_OF_PNG else upright.convert("RGB")
    buffer = io.BytesIO()
    writable.save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


def _named(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


_ENCODERS: dict[str, Callable[[str, object], NDArray[Any]]] = {
    "BYTES": _text_or_image,
    "INT32": _integer(np.int32),
    "INT64": _integer(np.int64),
    "FP32": _float32,
}
