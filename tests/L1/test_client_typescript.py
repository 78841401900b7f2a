"""The TypeScript example, its types generated from clients/proto by stock npm tooling, against the real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from served import ROOT, Caller, Served

NO_NETWORK = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENOTCACHED")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's folder, built."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm (Debian: apt install nodejs npm)")
    clients = tmp_path_factory.mktemp("clients")
    ignored = shutil.ignore_patterns("node_modules", "generated", "build")
    for part in ("proto", "examples"):
        shutil.copytree(ROOT / "clients" / part, clients / part, ignore=ignored)
    folder = clients / "examples" / "typescript"
    install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    if any(word in installed.stderr for word in NO_NETWORK):
        pytest.skip("needs the npm registry, or npm's cache of it")
    assert installed.returncode == 0, installed.stderr
    built = subprocess.run(["npm", "run", "build"], cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def _generate(example: Path, server: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", "build/generate.js", *arguments],
        cwd=example, capture_output=True, text=True, check=False, timeout=180,
        env=os.environ | {"VICO_ADDRESS": server.address},
    )  # fmt: skip


def test_it_gets_the_pictures_that_anybody_gets(example: Path, server: Served, call: Caller, tmp_path: Path) -> None:
    prompt = "une photo de * à la plage"
    done = _generate(example, server, prompt, "toy", str(tmp_path / "picture"), "3", "11", "2")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    assert (info["seed"], info["steps"], info["concept"].partition("@")[0]) == (11, 3, "toy")
    expected = call(prompt=prompt, concept="toy", steps=3, seed=11, num_images=2)
    for number, image in enumerate(expected.pixels(), 1):
        with Image.open(tmp_path / f"picture-{number}.png") as picture:
            assert picture.tobytes() == image.tobytes()


def test_it_is_told_what_is_wrong(example: Path, server: Served, tmp_path: Path) -> None:
    done = _generate(example, server, "a photo of *", "toy", str(tmp_path / "picture"), "1000")
    assert done.returncode == 1
    assert done.stderr.startswith("INVALID_ARGUMENT steps: 1000; accepted: ")
