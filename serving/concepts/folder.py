"""A registry in a local or mounted folder. Every request looks at the files themselves: a change counts at once."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from serving.concepts.source import (
    CHUNK_BYTES,
    MAX_DOCUMENT_BYTES,
    FileReplaced,
    Stamp,
    require_size,
    storage_error,
    unreachable,
    write_error,
)
from vico.errors import ConceptError

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


class FolderSource:
    """See `Source`. Symbolic links are followed, as mounted volumes use them; only regular files are ever read.

    Args:
        folder: may change at any time, and may be gone for a while.
    """

    live = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def reachable(self) -> bool:
        """See `Source`."""
        return self._folder.is_dir()

    def poll(self) -> None:
        """See `Source`."""

    def find(self, name: str) -> Stamp | None:
        """See `Source`."""
        try:
            return _stamp(os.stat(self._folder / name))  # noqa: PTH116 - one call, all fields
        except OSError as error:
            self._require_absence(error)
            return None

    def names(self, folder: str) -> Mapping[str, Stamp]:
        """See `Source`."""
        prefix = f"{folder}/" if folder else ""
        found = {}
        try:
            for entry in os.scandir(self._folder / folder):
                # a file may go between two looks
                stamp = None if entry.name.startswith(".") else self.find(prefix + entry.name)
                if stamp is not None:
                    found[prefix + entry.name] = stamp
        except OSError as error:
            self._require_absence(error)
        return found

    def fetch(self, name: str, stamp: Stamp, destination: Path) -> None:
        """See `Source`."""
        require_size(stamp.size_bytes)
        with self._opened(name) as reader:
            try:
                _copy_bounded(reader, destination, stamp.size_bytes)
                if _stamp(os.fstat(reader.fileno())) != stamp:
                    raise FileReplaced
            except OSError as error:
                raise storage_error(error) from None

    def read(self, name: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """See `Source`."""
        with self._opened(name) as reader:
            try:
                return reader.read(max_bytes)
            except OSError:
                raise unreachable() from None

    def create(self, name: str, content: bytes) -> None:
        """See `Source`; a link appears whole, and never in place of another."""
        with self._partial(name) as partial:
            partial.write_bytes(content)
            _sync(partial)
            os.link(partial, self._folder / name)
            _sync((self._folder / name).parent)

    def put(self, name: str, file: Path) -> None:
        """See `Source`."""
        with self._partial(name) as partial:
            shutil.copyfile(file, partial)
            _sync(partial)
            partial.replace(self._folder / name)

    def delete(self, name: str) -> None:
        """See `Source`."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError:
            raise unreachable() from None

    @contextmanager
    def _partial(self, name: str) -> Iterator[Path]:
        """A name beside `name` for a file in the making."""
        if not self.reachable:
            raise unreachable()
        target = self._folder / name
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield partial
        except FileExistsError:
            raise
        except OSError as error:
            raise write_error(error) from None
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        try:
            # O_NONBLOCK: opening a pipe that someone put into the registry must not hang the server
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            self._require_absence(error)
            raise FileNotFoundError from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConceptError("concept", "not a regular file", "a concept package")
            with os.fdopen(descriptor, "rb", closefd=False) as reader:
                yield reader
        finally:
            os.close(descriptor)

    def _require_absence(self, error: OSError) -> None:
        """Tell a file that is not there from a folder that cannot be asked.

        Raises:
            RegistryUnreachable: the folder is gone, or the file is there and cannot be read.
        """
        if error.errno not in _ABSENT or not self.reachable:
            raise unreachable() from None


def _copy_bounded(reader: BinaryIO, destination: Path, max_bytes: int) -> None:
    copied = 0
    with destination.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            copied += len(chunk)
            if copied > max_bytes:
                raise FileReplaced
            writer.write(chunk)


def _stamp(status: os.stat_result) -> Stamp:
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return Stamp(status.st_size, (status.st_dev, status.st_ino, *times), max(times) / 1e9)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
