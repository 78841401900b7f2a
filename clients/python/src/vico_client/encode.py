"""A request as KServe-v2 input tensors, shape [1] each.

Checked here is only what cannot be put on the wire (types, NaN, numbers beyond the datatype); limits are the server's.
"""

from __future__ import annotations

import io
import math
import operator
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vico_client.errors import InvalidRequest
from vico_client.messages import GenerateRequest
from vico_client.wire import Content, Tensor

_NUMBERS: dict[str, np.dtype[Any]] = {"INT32": np.dtype("<i4"), "INT64": np.dtype("<i8"), "FP32": np.dtype("<f4")}
_MODES_OF_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def tensors(request: GenerateRequest) -> list[Tensor]:
    """The input tensors of `request`, only of the fields that are not None. InvalidRequest names a bad field.

    Bytes of a photo are not copied: they must not change before the answer is there.
    """
    return [
        Tensor(spec.name, spec.metadata["datatype"], _content(spec.name, spec.metadata["datatype"], value))
        for spec in fields(request)
        for value in [getattr(request, spec.name)]
        if "datatype" in spec.metadata and (spec.name == "prompt" or value is not None)
    ]


def _content(name: str, datatype: str, value: object) -> Content:
    if datatype != "BYTES":
        return (_float32 if datatype == "FP32" else _integer)(name, _NUMBERS[datatype], value)
    return _image_bytes(name, value) if name == "reference_image" else _utf8(name, value)


def _utf8(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise InvalidRequest(f"{_named(value)} is not text", field=name, hint="a str")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"character {error.start} is half of a surrogate pair", field=name, hint="text that UTF-8 can hold"
        ) from None


def _integer(name: str, dtype: np.dtype[Any], value: object) -> bytes:
    limits = np.iinfo(dtype)
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or not limits.min <= number <= limits.max:
        raise InvalidRequest(f"{_named(value)} is not a {limits.bits}-bit integer", field=name, hint="an int")
    return number.to_bytes(dtype.itemsize, "little", signed=True)


def _float32(name: str, dtype: np.dtype[Any], value: object) -> bytes:
    try:
        number = math.nan if isinstance(value, (bool, str, bytes)) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    with np.errstate(over="ignore"):
        narrow = np.array(number, dtype)
    if not np.isfinite(narrow):
        raise InvalidRequest(f"{_named(value)} is not a finite number", field=name, hint="a finite float")
    return narrow.tobytes()


def _image_bytes(name: str, value: object) -> Content:
    try:
        if isinstance(value, Image.Image):
            return _png(value)
        if isinstance(value, (str, os.PathLike)):
            return Path(value).read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot be read: {error}", field=name, hint="a readable image") from error
    if isinstance(value, (bytes, bytearray, memoryview)):
        view = memoryview(value)
        return view.cast("B") if view.c_contiguous else bytes(view)
    raise InvalidRequest(f"{_named(value)} is not an image", field=name, hint="a PIL image, a path or bytes")


def _png(image: Image.Image) -> memoryview:
    """Lossless, upright (EXIF orientation does not survive a PNG), in a mode that PNG has."""
    upright = ImageOps.exif_transpose(image) or image
    writable = upright if upright.mode in _MODES_OF_PNG else upright.convert("RGB")
    buffer = io.BytesIO()
    writable.save(buffer, format="png", compress_level=1)
    return buffer.getbuffer()


def _named(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
