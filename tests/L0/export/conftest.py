"""A tiny base, exported once; the graphs are kept in pytest's cache, where their content address finds them again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.tiny_base import make_tiny_base
from tests.helpers.tiny_graphs import ExportedBase, export_unchecked
from vico.base import Base, load_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(make_tiny_base(tmp_path_factory.mktemp("base") / "tiny"))


@pytest.fixture(scope="session")
def exported(base: Base, pytestconfig: pytest.Config) -> ExportedBase:
    assert pytestconfig.cache is not None
    return export_unchecked(base, Path(pytestconfig.cache.mkdir("tiny-graphs")))
