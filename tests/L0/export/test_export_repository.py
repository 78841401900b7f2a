"""The Triton model repository of a graph set."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.errors import RepositoryError
from export.repository import SOURCE, assemble_repository


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "model_repository"
    for model in ("ensemble", "loop"):
        (folder / model).mkdir(parents=True)
        (folder / model / "config.pbtxt").write_text(f'name: "{model}"')
    (folder / "loop/1/__pycache__").mkdir(parents=True)
    (folder / "loop/1/model.py").write_text("")
    (folder / "loop/1/__pycache__/model.pyc").write_bytes(b"")
    (folder / "README.md").write_text("not a model")
    return folder


def test_models_only_and_every_one_with_a_version(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert assemble_repository(out, source) == out / "models"
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    assert found == [
        "models",
        "models/ensemble",
        "models/ensemble/1",
        "models/ensemble/config.pbtxt",
        "models/loop",
        "models/loop/1",
        "models/loop/1/model.py",
        "models/loop/config.pbtxt",
    ]


def test_an_older_repository_is_replaced_whole(source: Path, tmp_path: Path) -> None:
    (tmp_path / "models/forgotten").mkdir(parents=True)
    assemble_repository(tmp_path, source)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["ensemble", "loop"]
    assert not list(tmp_path.glob(".models-*"))


def test_a_failed_copy_leaves_the_older_one(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models/older").mkdir(parents=True)

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("export.repository.shutil.copytree", fail)
    with pytest.raises(OSError, match="No space left"):
        assemble_repository(tmp_path, source)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["older"]
    assert not list(tmp_path.glob(".models-*"))


def test_no_models_beside_the_package_is_said(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="model_repository: no models"):
        assemble_repository(tmp_path, tmp_path / "absent")


def test_ours_is_found_beside_the_package(tmp_path: Path) -> None:
    assert SOURCE.parent == Path(__file__).parents[3]
    assemble_repository(tmp_path)
    assert (tmp_path / "models/vico/config.pbtxt").is_file()
    assert (tmp_path / "models/vico/1").is_dir()
