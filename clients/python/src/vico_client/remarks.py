"""The server's remarks as Python warnings."""

from __future__ import annotations

import warnings

from vico_client.errors import VicoWarning
from vico_client.messages import GenerateInfo


def warn_user(info: GenerateInfo, stacklevel: int) -> None:
    """Repeat the server's warnings as Python warnings, at the caller's line."""
    for warning in info.warnings:
        warnings.warn(VicoWarning(warning.code, warning.message), stacklevel=stacklevel + 1)
