"""What a killed server leaves behind, and how to tell it from what a living one is using."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")

_REGION = re.compile(r"vico_(\d+)_.+")
_FOLDER = re.compile(r"vico-serve-(\d+)-.+")


def region_prefix(pid: int) -> str:
    """Prefix of the shared-memory regions of the server that process `pid` launched."""
    return f"vico_{pid}_"


def make_run_folder() -> Path:
    """A private folder for this process's server."""
    return Path(tempfile.mkdtemp(prefix=f"vico-serve-{os.getpid()}-"))


def clear_stale() -> int:
    """Remove regions and folders of servers whose launcher is no more; returns how many there were."""
    stale = [path for path in SHARED_MEMORY.glob("vico_*") if _is_stale(_REGION, path)]
    stale += [path for path in Path(tempfile.gettempdir()).glob("vico-serve-*") if _is_stale(_FOLDER, path)]
    for path in stale:
        _remove(path)
    return len(stale)


def clear_own(run_folder: Path, pid: int) -> None:
    """Remove what the server launched by `pid` used; call it once the server's processes are gone."""
    clear_regions(pid)
    _remove(run_folder)


def clear_regions(pid: int) -> None:
    """Remove the shared memory of the server launched by `pid`; call it once the server's processes are gone."""
    for path in SHARED_MEMORY.glob(f"{region_prefix(pid)}*"):
        _remove(path)


def _is_stale(pattern: re.Pattern[str], path: Path) -> bool:
    match = pattern.fullmatch(path.name)
    if match is None or _alive(int(match[1])):
        return False
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:  # another launcher was quicker
        return False


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
