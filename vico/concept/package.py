"""The concept package: one safetensors file that holds everything a server needs and nothing that executes."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vico.concept.atomic import write_atomically
from vico.concept.layout import BLOCK_TENSORS, LATENT_CHANNELS, REFERENCES, TOKEN_EMBEDDING, image_attention_key
from vico.concept.manifest import Manifest, TensorSpec, expected_shapes
from vico.errors import ConceptError

Array = npt.NDArray[np.floating[Any]]

_MANIFEST_KEY, _DIGEST_KEY = "vico.manifest", "vico.digest"
_LENGTH_BYTES = 8
"""At the beginning of a safetensors file: the length of its header."""
_DTYPES = {"F16": "float16", "F32": "float32"}
"""What safetensors calls the types a concept may have."""
_EXAMINERS = 2
_ACCEPTED = "a concept package written by `vico train` or `vico import`"


@dataclass(frozen=True, eq=False)
class ConceptPackage:
    """A verified concept in host memory. Two packages are the same concept exactly when their digests are equal."""

    manifest: Manifest
    digest: str
    """SHA-256 of the manifest's canonical JSON, which itself holds the SHA-256 of every tensor."""
    tensors: Mapping[str, Array]

    @property
    def token_embedding(self) -> Array:
        """[V, D]: the learned vectors that stand for the placeholder."""
        return self.tensors[TOKEN_EMBEDDING]

    @property
    def references(self) -> Array:
        """[R, 4, h, w]: clean latents of the reference photos, times the VAE's scaling factor; R = 0 if token only."""
        if self.manifest.token_only:
            return np.zeros((0, LATENT_CHANNELS, 1, 1), np.float32)
        return self.tensors[REFERENCES]

    @property
    def size_bytes(self) -> int:
        """Host memory the tensors take."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def image_attention(self, site: str) -> dict[str, Array]:
        """The twenty tensors of the image attention block at `site`, by their names within the block."""
        return {tensor: self.tensors[image_attention_key(site, tensor)] for tensor in BLOCK_TENSORS}

    def require_base(self, base_digest: str) -> None:
        """Refuse a base that the concept was not trained on.

        Raises:
            ConceptError: the digests differ.
        """
        if self.manifest.base_digest != base_digest:
            raise ConceptError(
                "concept",
                f"{self.manifest.id!r} was trained on another base",
                f"a concept trained on base {base_digest[:12]}",
            )


def write_package(path: Path, manifest: Manifest, tensors: Mapping[str, Array]) -> str:
    """Write a concept package atomically; `manifest.tensors` is filled in from `tensors`.

    Returns:
        The concept's digest, 64 hexadecimal digits.

    Raises:
        ConceptError: a tensor is missing, unknown, of a wrong shape or type, or not finite.
        OSError: the disk is full or the folder is not writable; no partial file is left.
    """
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in sorted(tensors.items())}
    _check_layout(manifest, {name: (str(t.dtype), t.shape) for name, t in tensors.items()})
    _check_finite(manifest.id, tensors)
    specs = {
        name: TensorSpec(dtype=str(t.dtype), shape=t.shape, sha256=_sha256(t))  # type: ignore[arg-type]
        for name, t in tensors.items()
    }
    text = replace(manifest, tensors=specs).to_json()
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_atomically(path, save(tensors, metadata={_MANIFEST_KEY: text, _DIGEST_KEY: digest}))
    return digest


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """Read a package's manifest and digest without its tensors (they are not verified).

    Raises:
        ConceptError: the file is not a concept package, or its manifest was altered.
        FileNotFoundError: there is no such file.
    """
    with _opened(path) as file:
        return _manifest_of(file.metadata() or {})


def parse_manifest(start: bytes) -> tuple[Manifest, str]:
    """The manifest and digest in the first bytes of a package's file, for a file that is far away.

    Raises:
        ConceptError: these are not the first bytes of a concept package, or its manifest was altered.
    """
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    try:
        if len(start) < _LENGTH_BYTES + length:
            raise ValueError
        header = json.loads(start[_LENGTH_BYTES : _LENGTH_BYTES + length])
        metadata: Mapping[str, str] = dict(header["__metadata__"])
    except (ValueError, KeyError, TypeError):
        raise ConceptError("concept", "the file is truncated or not safetensors", _ACCEPTED) from None
    return _manifest_of(metadata)


def read_package(path: Path, *, mapped: bool = False, mapped_from_bytes: int = 0) -> ConceptPackage:
    """Read and verify a concept package: the manifest's digest, every tensor's name, shape, type and SHA-256.

    Args:
        path: of the file.
        mapped: have the tensors be pages of the file, which nobody may shorten or write to from now on. With them stays
            a descriptor, which Python's `mmap` keeps.
        mapped_from_bytes: tensors that take less together are read into memory all the same.

    Raises:
        ConceptError: names what is torn, altered, missing or malformed.
        FileNotFoundError: there is no such file.
        OSError: it cannot be read now, whatever is in it.
    """
    with _opened(path) as file:
        manifest, digest = _manifest_of(file.metadata() or {})
        _check_layout(manifest, {name: _described(file, name) for name in file.offset_keys()})
        names = file.offset_keys()
    mapped = mapped and _size_bytes(manifest) >= mapped_from_bytes
    tensors: dict[str, Array] = {}
    # what was read is examined while the rest is read: a request waits for a concept that is not resident
    with ThreadPoolExecutor(_EXAMINERS, "examining") as pool:
        examined = []
        for name, tensor in (_mapped if mapped else _in_file_order)(path, manifest, names):
            tensors[name] = tensor
            examined.append(pool.submit(_examine, manifest, name, tensor))
    for one in examined:
        one.result()
    return ConceptPackage(manifest, digest, tensors)


def _in_file_order(path: Path, manifest: Manifest, names: list[str]) -> Iterator[tuple[str, Array]]:
    """Each tensor as soon as it is read; safetensors has found them to lie one after the other to the file's end."""
    with path.open("rb", buffering=0) as file:
        file.seek(_LENGTH_BYTES + int.from_bytes(file.read(_LENGTH_BYTES), "little"))
        for name in names:
            spec = manifest.tensors[name]
            tensor = np.empty(spec.shape, spec.dtype)
            room = tensor.reshape(-1).view(np.uint8).data
            while room:
                count = file.readinto(room)
                if not count:
                    raise ConceptError("concept", f"the file ends within tensor {name!r}", _ACCEPTED)
                room = room[count:]
            yield name, tensor


def _mapped(path: Path, manifest: Manifest, names: list[str]) -> Iterator[tuple[str, Array]]:
    """Each tensor as pages of the file: written to, they become copies of this process's own."""
    with path.open("rb") as file:
        offset = _LENGTH_BYTES + int.from_bytes(file.read(_LENGTH_BYTES), "little")
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        # the system reads on while the first tensors are examined
        pages.madvise(mmap.MADV_WILLNEED)
    for name in names:
        spec = manifest.tensors[name]
        count = math.prod(spec.shape)
        yield name, np.frombuffer(pages, spec.dtype, count, offset).reshape(spec.shape)
        offset += count * np.dtype(spec.dtype).itemsize


def _size_bytes(manifest: Manifest) -> int:
    return sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in manifest.tensors.values())


def _examine(manifest: Manifest, name: str, tensor: Array) -> None:
    if manifest.tensors[name].sha256 != _sha256(tensor):
        raise ConceptError("concept", f"tensor {name!r} was altered after it was written", _ACCEPTED)
    _check_finite(manifest.id, {name: tensor})


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError:
        # it says so of every file that cannot be opened: Python tells why, no descriptor left for one
        path.open("rb").close()
        raise
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, OSError) and path.is_file():
            # no memory left, say: that is not the file's fault
            raise
        raise ConceptError("concept", "the file is truncated or not safetensors", _ACCEPTED) from None


def _described(file: safe_open, name: str) -> tuple[str, tuple[int, ...]]:
    piece = file.get_slice(name)  # type: ignore[no-untyped-call]
    dtype = piece.get_dtype()
    return _DTYPES.get(dtype, dtype), tuple(piece.get_shape())


def _manifest_of(metadata: Mapping[str, str]) -> tuple[Manifest, str]:
    text, digest = metadata.get(_MANIFEST_KEY), metadata.get(_DIGEST_KEY)
    if text is None or digest is None:
        raise ConceptError("concept", "the file has no concept manifest", _ACCEPTED)
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ConceptError("concept", "its manifest was altered after it was written", _ACCEPTED)
    return Manifest.from_json(text), digest


def _check_layout(manifest: Manifest, found: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Hold names, types and shapes against what the manifest's sites call for (and its specs, once written)."""
    expected = expected_shapes(manifest.sites)
    for name in sorted(expected.keys() ^ found.keys()):
        problem = "is missing" if name in expected else "is not part of a concept"
        raise ConceptError("concept", f"tensor {name!r} {problem}", _ACCEPTED)
    for name, (dtype, shape) in found.items():
        if dtype not in ("float16", "float32"):
            raise ConceptError("concept", f"tensor {name!r} is {dtype}", "float16 or float32")
        if not _fits(shape, expected[name]):
            wanted = " x ".join("any" if size is None else str(size) for size in expected[name])
            raise ConceptError("concept", f"tensor {name!r} has shape {list(shape)}", wanted)
        spec = manifest.tensors.get(name)
        if manifest.tensors and (spec is None or (spec.dtype, spec.shape) != (dtype, shape)):
            raise ConceptError("concept", f"tensor {name!r} is not the one its manifest describes", _ACCEPTED)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size >= 1 and want in (None, size) for size, want in zip(shape, wanted, strict=True)
    )


def _check_finite(concept_id: str, tensors: Mapping[str, Array]) -> None:
    for name, tensor in tensors.items():
        with np.errstate(all="ignore"):
            # NaN and infinity show in the sum, which needs no mask; finite numbers may overflow it
            total = np.add.reduce(tensor, axis=None)
        if not np.isfinite(total) and not np.isfinite(tensor).all():
            raise ConceptError("concept", f"tensor {name!r} of {concept_id!r} holds NaN or infinity", "finite numbers")


def _sha256(tensor: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(tensor).data).hexdigest()
