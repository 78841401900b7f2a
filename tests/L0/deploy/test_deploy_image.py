"""The Dockerfile: linted, and held to what serving needs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
from deployed import DEPLOY, ROOT, dockerfile

from serving.installation import FOLDER

ARGUMENTS, STAGES = dockerfile()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FINAL = ["cpu", "gpu"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s\[<>=!~;]", requirement)[0].lower() for requirement in requirements}


def installed_extras(stage: str) -> set[str]:
    [found] = re.findall(r"vico-\*\.whl\)\[([^\]]+)\]", " ".join(STAGES[stage].all("RUN")))
    return set(found.split(","))


def test_hadolint() -> None:
    program = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([str(program), str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_build_without_a_target_makes_the_production_image() -> None:
    assert list(STAGES)[-1] == "gpu"


def test_production_is_a_triton_with_the_known_holes_closed() -> None:
    tag = re.fullmatch(r"nvcr\.io/nvidia/tritonserver:(\d+)\.(\d+)-py3(@sha256:[0-9a-f]{64})?", ARGUMENTS["TRITON"])
    assert tag, ARGUMENTS["TRITON"]
    assert (int(tag[1]), int(tag[2])) >= (26, 3)
    assert STAGES["gpu"].base == STAGES["gpu-environment"].base == "${TRITON}"


def test_the_development_image_has_the_python_of_the_project() -> None:
    accepted = PROJECT["requires-python"].removeprefix(">=")
    assert re.match(r"python:(\d+\.\d+)-slim", ARGUMENTS["PYTHON"])[1] == accepted  # type: ignore[index]


def test_every_base_is_pinned() -> None:
    for name, reference in ARGUMENTS.items():
        assert re.search(r":[^/]*\d", reference), name
        assert "latest" not in reference
    assert {stage.base for stage in STAGES.values()} == {f"${{{name}}}" for name in ARGUMENTS}


@pytest.mark.parametrize("stage", FINAL)
def test_nothing_is_built_in_an_image_that_is_shipped(stage: str) -> None:
    commands = " ".join(STAGES[stage].all("RUN"))
    assert "pip" not in commands
    assert "apt" not in commands
    copied = STAGES[stage].all("COPY")
    assert all(value.startswith(("--from=probe ", f"--from={stage}-environment /opt/vico ")) for value in copied)


@pytest.mark.parametrize("stage", FINAL)
def test_user_entry_point_and_ports(stage: str) -> None:
    image = STAGES[stage]
    uid = image.one("USER").split(":")[0]
    assert int(uid) >= 10_000  # no user of a node
    assert f"--uid {uid} " in image.one("RUN")
    assert image.instructions[-1][0] == "ENTRYPOINT"
    assert json.loads(image.one("ENTRYPOINT")) == ["vico", "serve"]
    assert [name for name, _ in image.instructions].index("USER") > [n for n, _ in image.instructions].index("RUN")
    # the root file system may be read only: what is written at run time goes to /tmp
    assert "HOME=/tmp" in image.one("ENV")


def test_the_two_images_differ_in_their_triton_only() -> None:
    cpu, gpu = ([i for i in STAGES[name].instructions if i[0] not in ("ENV", "COPY")] for name in FINAL)
    assert cpu == gpu
    assert STAGES["gpu"].one("ENV") == STAGES["cpu"].one("ENV") + f" {FOLDER}=/opt/tritonserver"


@pytest.mark.parametrize("stage", FINAL)
def test_no_torch_and_one_onnx_runtime(stage: str) -> None:
    extras = installed_extras(f"{stage}-environment")
    assert extras <= set(EXTRAS)
    packages = names([requirement for extra in extras for requirement in EXTRAS[extra]] + PROJECT["dependencies"])
    assert not packages & {"torch", "diffusers", "transformers", "xformers"}
    # both are the module onnxruntime: whichever came last would win
    assert len(packages & {"onnxruntime", "onnxruntime-gpu"}) == 1
    assert ("nvidia-pytriton" in packages) == (stage == "cpu"), "production must not hold the old Triton"


def test_the_gpu_serves_with_what_the_cpu_serves_with() -> None:
    of_cpu = names(EXTRAS["serve"]) - {"onnxruntime", "nvidia-pytriton"}
    assert names(EXTRAS["serve-gpu"]) - {"onnxruntime-gpu", "cuda-bindings"} == of_cpu


def context_files() -> set[Path]:
    """What of the tracked files reaches the builder, by .dockerignore: the last pattern that fits decides."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    kept = set()
    for file in filter(None, tracked.split("\0")):
        places = [file, *map(str, Path(file).parents)]
        ignored = False
        for pattern in patterns:
            bare = pattern.removeprefix("!").removeprefix("**/")
            if any(fnmatch(place, bare) or (fnmatch(Path(place).name, bare) and "**/" in pattern) for place in places):
                ignored = not pattern.startswith("!")
        if not ignored:
            kept.add(Path(file))
    return kept


def test_the_context_is_what_the_wheel_is_made_of() -> None:
    tops = {file.parts[0] for file in context_files()}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], "pyproject.toml", "requirements.lock", PROJECT["readme"], *PROJECT["license-files"]}
    assert tops == needed


@pytest.mark.slow
def test_a_wheel_built_from_the_context_alone_serves(tmp_path: Path) -> None:
    for file in context_files():
        (tmp_path / "source" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / "source" / file)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, tmp_path / "source"],
        check=True,
    )
    [wheel] = tmp_path.glob("vico-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for file in context_files():
        assert file.suffix == ".md" or len(file.parts) == 1 or file.as_posix() in held, file
