"""A new user with the wheel of `vico-client` and its three dependencies, nothing else: five lines give a picture."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image
from served import ROOT, Served

FIRST_PICTURE = re.search(
    r"```python\n(.*?)```", (ROOT / "docs" / "cookbook.md").read_text(encoding="utf-8"), re.DOTALL
)
DEPENDENCIES = ("numpy", "pillow", "tritonclient[grpc]")
NO_INDEX = ("NewConnectionError", "Could not find a version", "No matching distribution", "Temporary failure")


def _run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    return subprocess.run(list(command), capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that has the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    built = _run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder,
        ROOT / "clients" / "python",
    )  # fmt: skip
    if "hatchling" in built.stderr and "No module" in built.stderr:
        pytest.skip("needs hatchling to build the wheel: pip install hatchling")
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("vico_client-*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    installed = _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *DEPENDENCIES)
    if any(word in installed.stderr for word in NO_INDEX):
        pytest.skip("needs a package index for numpy, Pillow and tritonclient")
    assert installed.returncode == 0, installed.stderr
    installed = _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    assert installed.returncode == 0, installed.stderr
    return python


@pytest.mark.slow
def test_five_lines_give_a_picture(python: Path, server: Served, tmp_path: Path) -> None:
    assert FIRST_PICTURE is not None
    assert len(FIRST_PICTURE[1].strip().splitlines()) <= 5
    program = f"import os; os.chdir({str(tmp_path)!r})\n{FIRST_PICTURE[1]}"
    done = _run(python, "-I", "-c", program, VICO_ADDRESS=server.address)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.slow
def test_the_wheel_asks_for_three_things_and_says_it_is_typed(python: Path) -> None:
    program = """
import importlib.metadata as metadata, importlib.resources as resources
print(*sorted(text for text in metadata.requires("vico-client") if "extra ==" not in text), sep="|")
print(resources.files("vico_client").joinpath("py.typed").is_file())
"""
    done = _run(python, "-I", "-c", program)
    wanted, typed = done.stdout.strip().splitlines()
    assert [re.split(r"[>=<]", text)[0] for text in wanted.split("|")] == sorted(DEPENDENCIES)
    assert typed == "True"
