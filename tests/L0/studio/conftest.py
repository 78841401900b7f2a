"""What the tests of the studio share."""

from __future__ import annotations

import pytest
from hypothesis import settings

pytest.importorskip("vico_client", reason="the SDK is not installed: pip install clients/python")

settings.register_profile("unhurried", deadline=None)  # a busy machine is no defect
settings.load_profile("unhurried")
