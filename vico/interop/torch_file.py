"""Files of `torch.save`, both layouts: a zip archive (torch >= 1.6), and a row of pickles (before). Free of torch."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from vico.interop.arrays import MAX_TENSOR_BYTES, Materialiser, element_bytes
from vico.interop.errors import CheckpointError
from vico.interop.program import MAX_PICKLE_BYTES, Storage, TensorRef, run_program

ZIP_MAGIC, PICKLE_MAGIC = b"PK\x03\x04", b"\x80"
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x06"
_LEGACY_MAGIC, _LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
_MAX_RECORDS = 20_000
_MAX_DIRECTORY_BYTES = 2 * 2**20
_DEPTH = 3
_ACCEPTED = "a whole file of torch.save that holds tensors"


def read_torch_file(path: Path, field: str) -> Any:
    """The content of a checkpoint: nested dicts and lists of numbers, texts and arrays. Nothing of it is executed.

    Raises:
        CheckpointError: names what is torn, unsafe or too large; nothing was allocated for it.
    """
    with path.open("rb") as file:
        start = file.read(len(ZIP_MAGIC))
        file.seek(0)
        return _read_zip(file, field) if start == ZIP_MAGIC else _read_legacy(file, field)


def _read_zip(file: BinaryIO, field: str) -> Any:
    if _directory_bytes(file) > _MAX_DIRECTORY_BYTES:
        raise CheckpointError(field, "its archive holds too many records", f"at most {_MAX_RECORDS}")
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive, field)
            if _content(archive, records, "byteorder", field) not in (None, b"little"):
                raise CheckpointError(field, "its numbers are not little-endian", _ACCEPTED)
            program = _content(archive, records, "data.pkl", field)
            if program is None:
                raise CheckpointError(field, "it has no data.pkl", _ACCEPTED)

            def read(storage: Storage) -> bytes:
                content = _content(archive, records, f"data/{storage.key}", field)
                if content is None or len(content) != storage.elements * element_bytes(storage.dtype):
                    raise CheckpointError(field, "a storage of it is missing or torn", _ACCEPTED)
                return content

            return _resolve(run_program(io.BytesIO(program), field), read, field)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
        raise CheckpointError(field, "its archive is torn", _ACCEPTED) from None


def _directory_bytes(file: BinaryIO) -> int:
    """What the archive says its directory takes; zipfile would read it whole. 0 if there is none."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 22 - 2**16 - 76))
    tail = file.read()
    end = len(tail) - 22 if tail[-22:-18] == _END else tail.rfind(_END)
    if end < 0 or len(tail) < end + 22:
        return 0
    sizes = [int.from_bytes(tail[end + 12 : end + 16], "little") % 0xFFFFFFFF]
    if end >= 76 and tail[end - 76 : end - 72] == _END_64:
        sizes.append(int.from_bytes(tail[end - 36 : end - 28], "little"))
    return max(sizes)


def _records(archive: zipfile.ZipFile, field: str) -> dict[str, zipfile.ZipInfo]:
    """Records by their names under the archive's one folder. Nothing is unpacked to disk, whatever they are called."""
    infos = archive.infolist()
    if len(infos) > _MAX_RECORDS:
        raise CheckpointError(field, f"its archive holds {len(infos)} records", f"at most {_MAX_RECORDS}")
    if sum(info.file_size for info in infos) > 2 * MAX_TENSOR_BYTES:
        raise CheckpointError(field, "its archive is too large", f"at most {2 * MAX_TENSOR_BYTES} bytes")
    records: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        # torch.save stores; what is compressed could unfold to anything
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise CheckpointError(field, "its archive is compressed", _ACCEPTED)
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or len(path.parts) < 2:
            raise CheckpointError(field, f"a record of it is called {info.filename[:80]!r}", _ACCEPTED)
        name = "/".join(path.parts[1:])
        if name in records:
            raise CheckpointError(field, f"a record of it, {name[:80]!r}, stands twice", _ACCEPTED)
        records[name] = info
    return records


def _content(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], name: str, field: str) -> bytes | None:
    info = records.get(name)
    if info is None:
        return None
    limit = MAX_TENSOR_BYTES if name.startswith("data/") else MAX_PICKLE_BYTES
    if info.file_size > limit:
        raise CheckpointError(field, f"a record of it, {name[:80]!r}, is too large", f"at most {limit} bytes")
    return archive.read(info)


def _read_legacy(file: BinaryIO, field: str) -> Any:
    pickles = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    magic, version, _, value, keys = (run_program(pickles, field) for _ in range(5))
    if magic != _LEGACY_MAGIC or version != _LEGACY_VERSION or not isinstance(keys, list):
        raise CheckpointError(field, "it is not a file of torch.save", _ACCEPTED)
    wanted = {ref.storage.key: ref.storage for ref in _walk(value, field) if isinstance(ref, TensorRef)}
    places: dict[str, tuple[int, int]] = {}
    at = pickles.tell()
    size = file.seek(0, io.SEEK_END)
    for key in keys:
        storage = wanted.get(key) if isinstance(key, str) else None
        if storage is None:
            raise CheckpointError(field, "it holds a storage without a tensor", _ACCEPTED)
        length = storage.elements * element_bytes(storage.dtype)
        file.seek(at)
        if int.from_bytes(file.read(8), "little") != storage.elements or at + 8 + length > size:
            raise CheckpointError(field, "a storage of it is missing or torn", _ACCEPTED)
        places[key] = (at + 8, length)
        at += 8 + length

    def read(storage: Storage) -> bytes:
        if storage.key not in places or storage != wanted[storage.key]:
            raise CheckpointError(field, "a storage of it is missing or torn", _ACCEPTED)
        place, length = places[storage.key]
        file.seek(place)
        return file.read(length)

    return _resolve(value, read, field)


def _walk(value: Any, field: str) -> Iterator[Any]:
    """`value` and everything in its dicts, so far as `_DEPTH` lets them nest."""
    level = [value]
    count = 0
    for _ in range(_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            yield item
            if isinstance(item, dict):
                inner += item.values()
            # one dict may stand in many places: what unfolds is counted, not what is written
            if (count := count + 1) + len(inner) > _MAX_RECORDS:
                raise CheckpointError(field, "it holds too many things", f"at most {_MAX_RECORDS}")
        level = inner


def _resolve(value: Any, read: Callable[[Storage], bytes], field: str) -> Any:
    """The same with arrays in place of tensors."""
    if not isinstance(value, dict):
        raise CheckpointError(field, f"it holds a {type(value).__name__}", "a dict of tensors")
    for _ in _walk(value, field):
        pass
    make = Materialiser(read, field)

    def resolved(item: Any, name: str, depth: int) -> Any:
        if isinstance(item, TensorRef):
            return make.tensor(item, name)
        if isinstance(item, dict) and depth:
            return {key: resolved(inner, key, depth - 1) for key, inner in item.items()}
        if item is None or isinstance(item, str | int | float):
            return item
        raise CheckpointError(field, f"{name[:80]!r} of it is a {type(item).__name__}", _ACCEPTED)

    return resolved(value, "", _DEPTH)
