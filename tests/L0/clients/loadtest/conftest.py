"""What the tests of the load generator share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("hdrh", reason="the load generator is not installed: pip install 'clients/python[loadtest]'")
sys.path.insert(0, str(Path(__file__).parents[1]))  # fake_vico_server
