"""The Triton server, of PyPI or of NVIDIA's container: where it is, and what it needs to run Python models."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from serving.errors import LaunchError

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_INSTALL = "pip install 'vico[serve]'"
FOLDER = "VICO_TRITON"
"""Environment variable: folder of an installed Triton, as in NVIDIA's container; else that of PyPI is run."""


@dataclass(frozen=True)
class Installation:
    """Files of the installed server, all of them found."""

    server: Path
    backend_files: tuple[Path, ...]
    """Library, Python module and stub of the Python backend."""
    caches: Path
    libraries: tuple[str, ...]
    """Folders of the shared libraries that it needs."""
    libpython: Path


def find_installation() -> Installation:
    """Find the server in this Python environment.

    Raises:
        LaunchError: it, its stub for this Python, or libpython is absent, or numpy is of a version it cannot serve.
    """
    if int(version("numpy").partition(".")[0]) >= 2:
        # with numpy 2 requests "succeed" and every output tensor is empty
        raise LaunchError("numpy", f"version {version('numpy')} is installed", "numpy < 2 in the serving environment")
    folder = os.environ.get(FOLDER)
    return _installed(Path(folder)) if folder else _of_the_wheel()


def _installed(root: Path) -> Installation:
    backend = root / "backends" / "python"
    found = _found(root, backend, backend / "triton_python_backend_stub", f"{FOLDER}: a folder like /opt/tritonserver")
    if found.libpython.name.encode() not in found.backend_files[-1].read_bytes():
        raise LaunchError("tritonserver", f"its stub is not for Python {_PYTHON}", "the Python of its container")
    return found


def _of_the_wheel() -> Installation:
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise LaunchError("tritonserver", "nvidia-pytriton is not installed", _INSTALL)
    package = Path(spec.origin).parent
    root = package / "tritonserver"
    backend = root / "backends" / "python"
    stub = root / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"
    found = _found(root, backend, stub, f"{_INSTALL} (Linux, x86-64)")
    return replace(found, libraries=(str(package.parent / "nvidia_pytriton.libs"),))


def _found(root: Path, backend: Path, stub: Path, accepted: str) -> Installation:
    """Its libraries are where the container says that they are."""
    files = (backend / "libtriton_python.so", backend / "triton_python_backend_utils.py", stub)
    for file in (root / "bin" / "tritonserver", *files):
        if not file.is_file():
            raise LaunchError("tritonserver", f"{file.name} for Python {_PYTHON} is absent", accepted)
    libraries = tuple(filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)))
    return Installation(root / "bin" / "tritonserver", files, root / "caches", libraries, _find_libpython())


def make_backend_folder(installation: Installation, folder: Path) -> Path:
    """The wheel keeps the stub apart from its backend; Triton wants them in one folder. Returns `folder`."""
    (folder / "python").mkdir(parents=True)
    for file in installation.backend_files:
        (folder / "python" / file.name).symlink_to(file)
    return folder


def server_environment(installation: Installation, folder: Path) -> dict[str, str]:
    """Environment variables in which server and stubs run; `folder` is made to hold a link to libpython."""
    folder.mkdir(parents=True)
    # a folder of its own: the one that libpython lives in may shadow libraries of the wheel
    (folder / installation.libpython.name).symlink_to(installation.libpython)
    return {
        **os.environ,
        # the embedded interpreter finds its prefix, and so this environment's packages, through PATH
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join([str(folder), *installation.libraries]),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        # several processes share the cores: waiting threads must sleep, and numpy has no large products here
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",
        # a heap for each of a stage's many threads, up to eight for a core, each keeps the most that it ever held
        "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2"),
    }


def _find_libpython() -> Path:
    name = f"libpython{_PYTHON}.so.1.0"
    variables = [sysconfig.get_config_var(key) for key in ("LIBDIR", "LIBPL")]
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    folders = [*filter(None, variables), f"{sys.base_prefix}/lib", f"/usr/lib/{multiarch}", "/usr/local/lib"]
    for folder in folders:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise LaunchError("libpython", f"{name} is absent", f"on Debian: apt-get install libpython{_PYTHON}")
