"""Elements in a file → arrays, within bounds that are checked before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vico.interop.errors import CheckpointError
from vico.interop.program import Storage, TensorRef

Array = npt.NDArray[Any]
MAX_TENSOR_BYTES = 2**30
"""Of all tensors of one file together: five times a concept in float32."""

_TYPES: dict[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip


def element_bytes(dtype: str) -> int:
    """Bytes of one element on disk."""
    return np.dtype(_TYPES[dtype]).itemsize


def as_array(content: bytes | memoryview, dtype: str, field: str) -> Array:
    """Bytes → a flat array that is read only; bfloat16, which numpy lacks, becomes float32 exactly.

    Raises `CheckpointError` for an element type that is none of a tensor's.
    """
    if dtype not in _TYPES:
        raise CheckpointError(field, f"a tensor of it has elements of type {dtype[:20]}", ", ".join(_TYPES))
    array: Array = np.frombuffer(content, _TYPES[dtype])
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


class Materialiser:
    """Makes the tensors of one file, counting what they take.

    Args:
        read: the bytes of a storage.
        field: for messages.
    """

    def __init__(self, read: Callable[[Storage], bytes], field: str) -> None:
        self._read = read
        self._field = field
        self._taken = 0

    def tensor(self, ref: TensorRef, name: str) -> Array:
        """The tensor called `name`, a copy.

        Raises:
            CheckpointError: it reaches beyond its storage, repeats elements, or is too large.
        """
        count = math.prod(ref.shape)
        reach = ref.offset + sum((size - 1) * stride for size, stride in zip(ref.shape, ref.strides, strict=True)) + 1
        if count == 0 or reach > ref.storage.elements or count > ref.storage.elements:
            raise CheckpointError(self._field, f"tensor {name[:80]!r} is not inside its storage", "whole tensors")
        # whole storages, however small the view: many views of a large one would read it again and again
        self._taken += ref.storage.elements * element_bytes(ref.storage.dtype)
        if self._taken > MAX_TENSOR_BYTES:
            raise CheckpointError(self._field, "its tensors are too large", f"at most {MAX_TENSOR_BYTES} bytes")
        flat = as_array(self._read(ref.storage), ref.storage.dtype, self._field)
        strides = tuple(stride * flat.itemsize for stride in ref.strides)
        view = np.lib.stride_tricks.as_strided(flat[ref.offset :], ref.shape, strides, writeable=False)
        return view.copy()
