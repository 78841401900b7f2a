"""The admin service's own secret: a file that only its owner can read."""

from __future__ import annotations

import hmac
import stat
from pathlib import Path

from serving.errors import LaunchError

MIN_CHARACTERS = 16


def read_secret(file: Path) -> str:
    """The secret in `file`, without white space around it.

    Raises:
        LaunchError: the file is absent, readable for others, or too short to be a secret.
    """
    try:
        others = stat.S_IMODE(file.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise LaunchError("admin-secret-file", "cannot be read", "a text file with the secret") from None
    if others:
        raise LaunchError("admin-secret-file", "others than its owner may read it", "a file of mode 600 or 400")
    if len(secret) < MIN_CHARACTERS or not secret.isascii():
        raise LaunchError("admin-secret-file", "too short, or not ASCII", f"at least {MIN_CHARACTERS} characters")
    return secret


def bearer(secret: str) -> str:
    """What goes into the metadata `authorization`."""
    return f"Bearer {secret}"


def matches(given: str, secret: str) -> bool:
    """Whether `given` is the secret's header; the time that takes tells nothing about the secret."""
    return hmac.compare_digest(given.encode(errors="replace"), bearer(secret).encode())
