"""Telling must never break what is told about."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

logger = logging.getLogger("vico.telemetry")

P = ParamSpec("P")


def quiet(tell: Callable[P, None]) -> Callable[P, None]:
    """The same, with errors in the log, the first of them only, instead of the caller."""
    failed = False

    @wraps(tell)
    def quietly(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal failed
        try:
            tell(*args, **kwargs)
        except Exception:  # a missing number is better than a broken request
            if not failed:
                failed = True
                logger.exception("%s failed", tell.__qualname__)

    return quietly
