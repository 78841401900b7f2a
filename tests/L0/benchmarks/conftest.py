from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quality.pair import Setting
from tests.L0.benchmarks.quality_fakes import make_setting


@pytest.fixture
def setting(tmp_path: Path, tiny_base_folder: Path) -> Setting:
    return make_setting(tmp_path, tiny_base_folder)
