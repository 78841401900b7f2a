"""Obtains the freely licensed data through the ordinary clients: npm, apt and pip. Nothing is asked for twice."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from training.toy.catalogue import LICENCES
from training.toy.paths import Work

EMOJI_PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
FURNITURE_PACKAGE = "sweethome3d-furniture=1.8-1"
BLENDER_REQUIREMENTS = ("bpy==5.0.1", "numpy<2")
BLENDER_DEBIAN = "libxxf86vm1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1 libegl1 libxrender1"


def fetch_emoji(work: Work) -> None:
    """Unpacks the Fluent emoji (MIT) into `work.emoji`."""
    if work.emoji.exists():
        return
    with tempfile.TemporaryDirectory(dir=_made(work.emoji.parent)) as folder:
        _call(["npm", "pack", "--silent", EMOJI_PACKAGE], folder)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
        (Path(folder) / "package" / "assets").rename(work.emoji)


def fetch_furniture(work: Work) -> None:
    """Unpacks the furniture models (CC0 and CC-BY) of Debian's package into `work.furniture`, without installing it."""
    if work.furniture.exists():
        return
    with tempfile.TemporaryDirectory(dir=_made(work.furniture.parent)) as folder:
        _call(["apt-get", "download", FURNITURE_PACKAGE], folder)
        _call(["dpkg-deb", "--extract", str(next(Path(folder).glob("*.deb"))), "content"], folder)
        target = Path(folder) / "furniture"
        for catalogue in LICENCES:
            archive = next((Path(folder) / "content").rglob(f"{catalogue}.sh3f"))
            with zipfile.ZipFile(archive) as models:
                models.extractall(target / catalogue)
        target.rename(work.furniture)


def fetch_blender(work: Work) -> None:
    """Makes an environment of its own for Blender's Python module (it needs NumPy 1 and CPython 3.11).

    Raises:
        RuntimeError: Blender does not start; names the Debian packages it needs.
    """
    if not work.blender_python.exists():
        root = work.blender_python.parents[1]
        _call([sys.executable, "-m", "venv", str(root)], _made(root.parent))
        _call([str(work.blender_python), "-m", "pip", "install", "--quiet", *BLENDER_REQUIREMENTS], root)
    probe = subprocess.run([str(work.blender_python), "-c", "import bpy"], capture_output=True, check=False)
    if probe.returncode:
        raise RuntimeError(f"Blender does not start; as root: apt-get install {BLENDER_DEBIAN}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _call(command: list[str], folder: Path | str) -> None:
    """Runs `command` in `folder`.

    Raises:
        RuntimeError: it failed; holds what it said.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed with {done.returncode}:\n{done.stderr[-2000:]}")
