"""Pictures on disk: their names, and files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def picture_paths(out: Path, count: int) -> list[Path]:
    """`picture.png` for one picture; `picture-1.png`, `picture-2.png`, … for several, with equally long numbers."""
    if count == 1:
        return [out]
    digits = len(str(count))
    return [out.with_name(f"{out.stem}-{number:0{digits}}{out.suffix}") for number in range(1, count + 1)]


def write_pictures(files: Iterable[memoryview], paths: list[Path]) -> list[Path]:
    """Write each file under its path, replacing what was there; a failed write leaves nothing half-done. OSError."""
    for file, path in zip(files, paths):
        _write_atomically(path, file)
    return paths


def _write_atomically(path: Path, content: memoryview) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        temporary.chmod(0o666 & ~_umask())  # mkstemp's 0600 would surprise in a shared folder
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
