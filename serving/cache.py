"""A least-recently-used cache bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLRU(Generic[K, V]):
    """Values by key, the least recently used out first. Safe to use from several threads.

    Args:
        max_bytes: bound on the sum of sizes. A value larger than that by itself is not kept.
        size_of: bytes that a value takes.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self.max_bytes = max_bytes
        self._size_of = size_of
        self._values: OrderedDict[K, V] = OrderedDict()
        self._size_bytes = 0
        self._pinned: frozenset[K] = frozenset()
        self._lock = Lock()

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        return self._size_bytes

    @property
    def room_bytes(self) -> int:
        """Bytes that can come without anything leaving."""
        return self.max_bytes - self._size_bytes

    def keys(self) -> list[K]:
        """What is held now, the least recently used first."""
        with self._lock:
            return list(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        """The value, which becomes the most recently used; None if absent."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: K, value: V) -> None:
        """Keep `value`, evicting what was used longest ago and is not pinned, until the bound holds.

        A value that does not fit beside the pinned ones is not kept.
        """
        size = self._size_of(value)
        with self._lock:
            self._drop(key)
            pinned_bytes = sum(self._size_of(self._values[other]) for other in self._pinned & self._values.keys())
            if size + pinned_bytes > self.max_bytes:
                return
            self._values[key] = value
            self._size_bytes += size
            for other in [other for other in self._values if other not in self._pinned and other != key]:
                if self._size_bytes <= self.max_bytes:
                    return
                self._drop(other)

    def pin(self, keys: Collection[K]) -> None:
        """Values of these keys, and of no others, stay once they are here."""
        with self._lock:
            self._pinned = frozenset(keys)

    def drop(self, key: K) -> None:
        """Let go of a value, unless it is pinned."""
        with self._lock:
            if key not in self._pinned:
                self._drop(key)

    def check_integrity(self) -> None:
        """Raise AssertionError if the account of bytes is wrong or over the bound."""
        with self._lock:
            total = sum(self._size_of(value) for value in self._values.values())
            if total != self._size_bytes or total > self.max_bytes:
                raise AssertionError(f"cache holds {total} bytes, accounts {self._size_bytes} of {self.max_bytes}")

    def _drop(self, key: K) -> None:
        if key in self._values:
            self._size_bytes -= self._size_of(self._values.pop(key))
