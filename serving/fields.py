"""One class per kind of request field: reads a raw array, checks everything about it, returns a plain value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidField

RawArray = npt.NDArray[Any]
RawFields = Mapping[str, RawArray]


@dataclass(frozen=True)
class BytesField:
    """BYTES [1], as many bytes as `max_bytes`."""

    name: str
    max_bytes: int

    def read(self, fields: RawFields) -> bytes:
        """The bytes; empty when the field is absent.

        Raises:
            InvalidField: wrong element type, wrong shape, or too many bytes.
        """
        value = _scalar(self.name, fields, np.dtype(object), "BYTES")
        if value is None:
            return b""
        if not isinstance(value, bytes):
            raise InvalidField(self.name, "not BYTES", "BYTES of shape [1]")
        if len(value) > self.max_bytes:
            raise InvalidField(self.name, f"{len(value)} bytes", f"at most {self.max_bytes} bytes")
        return value


@dataclass(frozen=True)
class TextField:
    """BYTES [1] in UTF-8, of `low` to `high` characters; must be there if `low` is greater than 0."""

    name: str
    low: int
    high: int

    def read(self, fields: RawFields) -> str:
        """The text; empty when the field is absent.

        Raises:
            InvalidField: wrong element type or shape, not UTF-8, too short or too long.
        """
        if self.low > 0 and self.name not in fields:
            raise InvalidField(self.name, "missing", f"{self.low} to {self.high} characters")
        # a character takes at most four bytes: a longer value is refused before it is decoded
        raw = BytesField(self.name, 4 * self.high).read(fields)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidField(self.name, f"not UTF-8 at byte {error.start}", "text in UTF-8") from None
        if not self.low <= len(text) <= self.high:
            raise InvalidField(self.name, f"{len(text)} characters", f"{self.low} to {self.high} characters")
        return text


@dataclass(frozen=True)
class ChoiceField:
    """BYTES [1], one of `choices`; the first of them when absent or empty."""

    name: str
    choices: tuple[str, ...]

    def read(self, fields: RawFields) -> str:
        """The choice.

        Raises:
            InvalidField: wrong element type or shape, or not one of the choices.
        """
        text = TextField(self.name, 0, 64).read(fields) or self.choices[0]
        if text not in self.choices:
            raise InvalidField(self.name, f"unknown value {text!r}", ", ".join(self.choices))
        return text


@dataclass(frozen=True)
class IntField:
    """An integer [1] of `dtype`, from `low` to `high`."""

    name: str
    dtype: type[np.int32] | type[np.int64]
    low: int
    high: int
    default: int

    def read(self, fields: RawFields) -> int:
        """The number.

        Raises:
            InvalidField: wrong element type or shape, or out of range.
        """
        value = _scalar(self.name, fields, np.dtype(self.dtype), np.dtype(self.dtype).name.upper())
        number = self.default if value is None else int(value)
        if not self.low <= number <= self.high:
            raise InvalidField(self.name, f"{number}", f"a whole number from {self.low} to {self.high}")
        return number


@dataclass(frozen=True)
class FloatField:
    """FP32 [1], finite, from `low` to `high`."""

    name: str
    low: float
    high: float
    default: float

    def read(self, fields: RawFields) -> float:
        """The number.

        Raises:
            InvalidField: wrong element type or shape, not finite, or out of range.
        """
        value = _scalar(self.name, fields, np.dtype(np.float32), "FP32")
        number = self.default if value is None else float(value)
        if not math.isfinite(number) or not self.low <= number <= self.high:
            raise InvalidField(self.name, f"{number:g}", f"a finite number from {self.low:g} to {self.high:g}")
        return number


def _scalar(name: str, fields: RawFields, dtype: np.dtype[Any], called: str) -> Any:
    array = fields.get(name)
    if array is None:
        return None
    if array.dtype != dtype:
        raise InvalidField(name, f"element type {array.dtype}", f"{called} of shape [1]")
    if array.shape != (1,):
        raise InvalidField(name, f"shape {list(array.shape)[:8]}", f"{called} of shape [1]")
    return array[0]
