"""Fixtures that several rooms' tests share; heavy libraries are imported only by the tests that ask for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vico.base import Base


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A test may start a command that configures logging: to that test's standard error, which closes with it."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    # pytest's own handlers are of other classes, and come and go by themselves
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler and handler not in before:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def tiny_base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete base with random weights; do not write into it."""
    pytest.importorskip("torch")
    from tests.helpers.tiny_base import make_tiny_base

    return make_tiny_base(tmp_path_factory.mktemp("bases") / "tiny-base")


@pytest.fixture(scope="session")
def tiny_base(tiny_base_folder: Path) -> Base:
    """The tiny base, loaded in float32."""
    from vico.base import load_base

    return load_base(tiny_base_folder)
