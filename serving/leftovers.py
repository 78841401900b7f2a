"""What a killed server leaves behind, and how to tell it from what a living one is using.

A living launcher holds a lock on what is its own. Its process id would not do: in containers that share a folder every
launcher may have the same one.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SHARED_MEMORY = Path("/dev/shm")

_LOCK = "lock"
_REGION = re.compile(r"\.?vico_(\d+)_(?:([0-9a-f]{8})_)?.+")
_FOLDER = re.compile(r"vico-serve-(\d+)-(.+)")


@dataclass(frozen=True)
class RunPlace:
    """Folder and shared memory of one launcher's server."""

    folder: Path
    """For this user only."""
    prefix: str
    """Of the names of its shared-memory regions."""
    locks: tuple[BinaryIO, BinaryIO]
    """Open files, locked for as long as this process lives."""

    @staticmethod
    def make() -> RunPlace:
        """A new one; it appears locked, so that nobody takes it for left behind."""
        pid, token = os.getpid(), secrets.token_hex(4)
        prefix = f"vico_{pid}_{token}_"
        hidden = SHARED_MEMORY / f".new-{prefix}{_LOCK}"
        region_lock = _locked(hidden)
        hidden.rename(_region_lock(prefix))
        fresh = Path(tempfile.mkdtemp(prefix=".vico-serve-"))
        folder_lock = _locked(fresh / _LOCK)
        folder = fresh.rename(fresh.with_name(f"vico-serve-{pid}-{token}"))
        return RunPlace(folder, prefix, (region_lock, folder_lock))

    def clear_regions(self) -> None:
        """Remove the shared memory of the server; call it once the server's processes are gone."""
        for path in SHARED_MEMORY.glob(f"{self.prefix}*"):
            _remove(path)

    def close(self) -> None:
        """Remove everything; call it once the server's processes are gone. May be called twice."""
        self.clear_regions()
        for path in (_region_lock(self.prefix), self.folder):
            _remove(path)
        for lock in self.locks:
            lock.close()


def clear_stale() -> int:
    """Remove regions and folders of servers whose launcher is no more; returns how many there were."""
    regions = (*SHARED_MEMORY.glob("vico_*"), *SHARED_MEMORY.glob(f".vico_*_{_LOCK}"))
    stale = [path for path in regions if _is_stale_region(path)]
    stale += [path for path in Path(tempfile.gettempdir()).glob("vico-serve-*") if _is_stale_folder(path)]
    for path in stale:
        _remove(path)
    return len(stale)


def _is_stale_region(path: Path) -> bool:
    match = _REGION.fullmatch(path.name)
    return match is not None and _is_stale(path, _region_lock(f"vico_{match[1]}_{match[2]}_"), int(match[1]))


def _is_stale_folder(path: Path) -> bool:
    match = _FOLDER.fullmatch(path.name)
    return match is not None and _is_stale(path, path / _LOCK, int(match[1]))


def _region_lock(prefix: str) -> Path:
    return SHARED_MEMORY / f".{prefix}{_LOCK}"


def _is_stale(path: Path, lock: Path, pid: int) -> bool:
    """Whether nobody holds the lock; where there is none, whether there is no such process."""
    try:
        if path.stat().st_uid != os.getuid():
            return False
        with lock.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # of an older version, or another launcher was quicker
        return not lock.exists() and path.exists() and not _alive(pid)
    except OSError:
        return False
    return True


def _locked(path: Path) -> BinaryIO:
    lock = path.open("xb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
