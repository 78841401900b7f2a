"""What the tests of the gateway share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the gateway is not installed: pip install 'clients/python[gateway]'")
sys.path.insert(0, str(Path(__file__).parents[1]))  # fake_vico_server
