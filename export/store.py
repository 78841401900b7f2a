"""Folders of exported graphs, named by what they were made from: they appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vico.concept.graphset import GraphName

MODEL_FILE = "model.onnx"
_STAGING = ".staging-"
_PACKED = "packed"


@dataclass(frozen=True)
class GraphStore:
    """The folder `graphs/` of a graph set: `<name>/<digest>/model.onnx` (+ `model.onnx.data`), `packed/<digest>/`."""

    root: Path

    def folder(self, name: GraphName, digest: str) -> Path:
        """Where the graph `name` made from `digest` is or will be."""
        return self.root / name / digest

    def contains(self, name: GraphName, digest: str) -> bool:
        """Whether it is there; since it is put there by a rename, it is then complete."""
        return (self.folder(name, digest) / MODEL_FILE).is_file()

    def packed(self, digest: str) -> Path:
        """Where graphs packed for one processor are or will be."""
        return self.root / _PACKED / digest

    def beside(self, name: GraphName, exported: str, digest: str) -> Path:
        """Where a form of the graph `exported` that shares its weights is or will be."""
        return self.folder(name, exported) / f"{digest}.onnx"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only export into this folder; waits for another one. Clears what a killed export left behind."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for left in self.root.glob(f"{_STAGING}*"):
                shutil.rmtree(left)
            for left in self.root.glob(f"*/*/{_STAGING}*"):
                left.unlink()
            yield

    @contextmanager
    def staging(self, name: GraphName, digest: str) -> Iterator[Path]:
        """A folder to write a graph into; it becomes `folder(name, digest)` when the block ends without an error.

        Raises:
            OSError: the disk is full or not writable; nothing of the graph is left behind.
        """
        with self._staging(self.folder(name, digest)) as temporary:
            yield temporary

    @contextmanager
    def staging_packed(self, digest: str) -> Iterator[Path]:
        """The same for `packed(digest)`."""
        with self._staging(self.packed(digest)) as temporary:
            yield temporary

    @contextmanager
    def _staging(self, target: Path) -> Iterator[Path]:
        temporary = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.root))
        try:
            yield temporary
            temporary.chmod(0o755)
            _sync(temporary)
            target.parent.mkdir(exist_ok=True)
            temporary.rename(target)
            _sync_path(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def staging_beside(self, name: GraphName, exported: str, digest: str) -> Iterator[Path]:
        """A file to write a form into that shares the weights of `exported`; it becomes `beside(…)` likewise."""
        target = self.beside(name, exported, digest)
        temporary = target.with_name(f"{_STAGING}{target.name}")
        try:
            yield temporary
            # the graph last: once it is there, all of it is
            for suffix in (".json", ".onnx"):
                if (made := temporary.with_suffix(suffix)).is_file():
                    _sync_path(made)
                    made.rename(target.with_suffix(suffix))
            _sync_path(target.parent)
        finally:
            for suffix in (".json", ".onnx"):
                temporary.with_suffix(suffix).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Have the content on the disk before the name that promises it."""
    for path in folder.iterdir():
        _sync_path(path)
    _sync_path(folder)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
