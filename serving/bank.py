"""The bank: image-attention weights of the resident concepts, one slot each, fed to the denoiser."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vico.concept import ConceptPackage, SiteSpec, block_tensor_shapes

Weights = npt.NDArray[np.floating[Any]]


class SlotBank:
    """S slots of weights. The concept used longest ago leaves first; one in use is pinned and never leaves.

    A row without a concept may name any slot: with an image guidance of 0 the graph passes its input on, whatever the
    weights are.

    Args:
        sites: in decoder order.
        slots: S.
        dtype: of the denoiser's inputs.
    """

    def __init__(self, sites: tuple[SiteSpec, ...], slots: int, dtype: npt.DTypeLike = np.float32) -> None:
        self._sites = sites
        self._slots = slots
        self.arrays: dict[str, Weights] = {
            f"image_attention.{i}.{tensor}": np.zeros((slots, *shape), dtype)
            for i, site in enumerate(sites)
            for tensor, shape in block_tensor_shapes(site.channels).items()
        }
        """Feed name → [S, …]; written in place."""
        self.version = 0
        """Counts the writes: a runner with memory of its own copies the arrays again when it has changed."""
        self._slot_of: OrderedDict[str, int] = OrderedDict()
        self._pins: Counter[str] = Counter()
        self._retained: frozenset[str] = frozenset()

    def __contains__(self, digest: str) -> bool:
        return digest in self._slot_of

    def acquire(self, digest: str, load: Callable[[str], ConceptPackage]) -> int | None:
        """Pin a concept and return its slot; load it if it is not resident. None when every slot is pinned.

        Raises:
            VicoError: whatever `load` raises; the bank is as before.
        """
        if digest not in self._slot_of:
            slot = self._free_slot()
            if slot is None:
                return None
            self._write(digest, slot, load(digest))
        self._slot_of.move_to_end(digest)
        self._pins[digest] += 1
        return self._slot_of[digest]

    def release(self, digest: str) -> None:
        """Undo one `acquire`; the concept stays resident until its slot is needed."""
        self._pins[digest] -= 1
        if self._pins[digest] == 0:
            del self._pins[digest]

    def retain(self, digests: Sequence[str]) -> None:
        """Let these concepts, and no others, stay resident once they are: the first S − 1, as every other needs a slot.

        May be called from any thread.
        """
        self._retained = frozenset(digests[: self._slots - 1])

    @property
    def max_bytes(self) -> int:
        """Of all slots."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def size_bytes(self) -> int:
        """Of the slots that hold a concept."""
        return self.max_bytes // self._slots * len(self._slot_of)

    @property
    def resident(self) -> tuple[str, ...]:
        """Digests of the concepts in slots now."""
        return tuple(self._slot_of.copy())

    def unpin_all(self) -> None:
        """Undo every `acquire`."""
        self._pins.clear()

    def slot_of(self, digest: str) -> int | None:
        """Where a concept is, if it is resident."""
        return self._slot_of.get(digest)

    def check_pins(self, users: Iterable[str]) -> None:
        """Raise AssertionError if the pins are not exactly those of `users`, one digest for each lane."""
        if Counter(users) != self._pins:
            raise AssertionError(f"pins {self._pins} are not those of the lanes")

    def check_integrity(self, load: Callable[[str], ConceptPackage] | None = None) -> None:
        """Raise AssertionError if two concepts share a slot, a pinned one is gone, or a slot holds something else.

        The content is compared only with `load`, which is what `acquire` takes.
        """
        slots = list(self._slot_of.values())
        if len(set(slots)) != len(slots) or not set(slots) <= set(range(self._slots)):
            raise AssertionError(f"slots are shared or out of range: {slots}")
        if not self._pins.keys() <= self._slot_of.keys() or any(count < 1 for count in self._pins.values()):
            raise AssertionError(f"pins are wrong: {self._pins}")
        for digest, slot in self._slot_of.items():
            for feed, tensor in self._feeds(load(digest)) if load else ():
                if not np.array_equal(self.arrays[feed][slot], tensor.astype(self.arrays[feed].dtype)):
                    raise AssertionError(f"slot {slot} does not hold {feed} of {digest[:12]}")

    def _free_slot(self) -> int | None:
        """A slot that nobody uses: an empty one, or the one used longest ago among those that may leave."""
        empty = set(range(self._slots)) - set(self._slot_of.values())
        if empty:
            return min(empty)
        staying = self._pins.keys() | self._retained
        leaving = next((digest for digest in self._slot_of if digest not in staying), None)
        return None if leaving is None else self._slot_of[leaving]

    def _write(self, digest: str, slot: int, package: ConceptPackage) -> None:
        owner = next((other for other, taken in self._slot_of.items() if taken == slot), None)
        if owner is not None:
            del self._slot_of[owner]
        for feed, tensor in self._feeds(package):
            self.arrays[feed][slot] = tensor
        self.version += 1
        self._slot_of[digest] = slot

    def _feeds(self, package: ConceptPackage) -> Iterator[tuple[str, Weights]]:
        """The package's weights by the denoiser's names."""
        for i, site in enumerate(self._sites):
            for tensor, weight in package.image_attention(site.name).items():
                yield f"image_attention.{i}.{tensor}", weight
