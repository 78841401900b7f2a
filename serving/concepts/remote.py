"""A registry in an object store (S3, Google Cloud Storage, whatever `fsspec` opens), looked at now and then."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import fsspec
from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_random_exponential

from serving.concepts.source import (
    CHUNK_BYTES,
    FOLDERS,
    MAX_DOCUMENT_BYTES,
    FileReplaced,
    Stamp,
    require_size,
    storage_error,
    unreachable,
)

ATTEMPTS = 5
"""Of one part of a download; what was fetched before stays."""

_CONTENT_MARKS = ("ETag", "etag", "generation", "md5Hash")
_TIME_MARKS = ("mtime", "LastModified", "last_modified", "updated", "created")
"""Where nothing better is given; some stores round them otherwise in a listing than in a look at one file."""
T = TypeVar("T")


class RemoteSource:
    """See `Source`. What requests see is what the last `poll` saw; between two polls no request waits for the network.

    Args:
        url: of a folder or prefix, like `s3://bucket/concepts`; credentials and endpoint as `fsspec` finds them
            (`AWS_…`, `FSSPEC_…`).
        patience_seconds: longest pause before a failed part of a download is asked for again.
    """

    live = False

    def __init__(self, url: str, patience_seconds: float = 5.0) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._listed: dict[str, Mapping[str, Stamp]] = {folder: {} for folder in FOLDERS}
        self._reachable = False
        self._lock = Lock()
        self._attempts = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(0.1, max=patience_seconds),
            retry=retry_if_not_exception_type((FileNotFoundError, FileExistsError)),
            reraise=True,
        )

    @property
    def reachable(self) -> bool:
        """See `Source`."""
        return self._reachable

    def poll(self) -> None:
        """See `Source`; a registry that does not answer leaves what was seen before."""
        try:
            listed = {folder: self._list(folder) for folder in FOLDERS}
        except Exception:  # noqa: BLE001 - every back end raises what it likes; the next poll asks again
            self._reachable = False
            return
        with self._lock:
            self._listed, self._reachable = listed, True

    def find(self, name: str) -> Stamp | None:
        """See `Source`."""
        return self.names(posixpath.dirname(name)).get(name)

    def names(self, folder: str) -> Mapping[str, Stamp]:
        """See `Source`."""
        with self._lock:
            return self._listed[folder]

    def fetch(self, name: str, stamp: Stamp, destination: Path) -> None:
        """See `Source`; part by part, each asked for again after a pause that grows, and never from the beginning."""
        require_size(stamp.size_bytes)
        with destination.open("xb") as writer:
            for start in range(0, stamp.size_bytes, CHUNK_BYTES):
                part = self._ask(self._part, name, start, min(start + CHUNK_BYTES, stamp.size_bytes))
                try:
                    writer.write(part)
                    writer.flush()
                except OSError as error:
                    raise storage_error(error) from None
        if self._ask(self._stamp_now, name) != stamp:
            raise FileReplaced

    def read(self, name: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """See `Source`."""
        content: bytes = self._ask(self._files.cat_file, self._path(name), start=0, end=max_bytes)
        return content

    def create(self, name: str, content: bytes) -> None:
        """See `Source`; the store itself refuses a second writer (S3: If-None-Match; Cloud Storage: generation 0)."""
        # once only: an attempt whose answer was lost would meet its own file
        self._ask_once(self._files.pipe_file, self._path(name), content, mode="create")

    def put(self, name: str, file: Path) -> None:
        """See `Source`."""
        self._ask(self._files.put_file, str(file), self._path(name))

    def delete(self, name: str) -> None:
        """See `Source`."""
        try:
            self._ask(self._files.rm_file, self._path(name))
        except FileNotFoundError:
            return

    def _part(self, name: str, start: int, end: int) -> bytes:
        part: bytes = self._files.cat_file(self._path(name), start=start, end=end)
        if len(part) != end - start:
            raise OSError("short read")
        return part

    def _stamp_now(self, name: str) -> Stamp:
        self._files.invalidate_cache()
        return _stamp(self._files.info(self._path(name)))

    def _list(self, folder: str) -> Mapping[str, Stamp]:
        self._files.invalidate_cache()
        try:
            infos: list[dict[str, Any]] = self._files.ls(self._path(folder), detail=True)
        except FileNotFoundError:
            if not folder:
                # an object store has no empty folders: an emptied registry looks like a lost one, and is taken for it
                raise
            return {}
        prefix = f"{folder}/" if folder else ""
        files = [info for info in infos if info["type"] == "file"]
        return {prefix + posixpath.basename(info["name"]): _stamp(info) for info in files}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _ask(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return self._ask_once(lambda: self._attempts(call, *args, **kwargs))

    def _ask_once(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        try:
            return call(*args, **kwargs)
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception:  # noqa: BLE001 - every back end raises what it likes
            raise unreachable() from None


def _stamp(info: Mapping[str, Any]) -> Stamp:
    size = int(info["size"] or 0)
    marks = _marks(info, _CONTENT_MARKS) or _marks(info, _TIME_MARKS)
    return Stamp(size, (size, *marks))


def _marks(info: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    values = [info[name] for name in names if info.get(name) is not None]
    return [str(value.timestamp() if isinstance(value, datetime) else value) for value in values]
