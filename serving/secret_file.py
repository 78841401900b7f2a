"""Secrets come from files that nobody else can read."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from serving.errors import LaunchError

MIN_CHARACTERS = 16
_ROOT = 0


def read_secret(file: Path, name: str = "admin-secret-file") -> str:
    """The secret in `file`, without white space around it.

    Args:
        file: of mode 600 or 400; or, as Kubernetes mounts secrets, of root, mode 440, and of a group of ours.
        name: of the option that names the file.

    Raises:
        LaunchError: the file is absent, readable for others, or too short to be a secret.
    """
    try:
        status = file.stat()
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise LaunchError(name, "cannot be read", "a text file with the secret") from None
    require_private(status, name)
    if len(secret) < MIN_CHARACTERS or not secret.isascii():
        raise LaunchError(name, "too short, or not ASCII", f"at least {MIN_CHARACTERS} characters")
    return secret


def require_private(status: os.stat_result, name: str) -> None:
    """Of a file with a secret or a private key.

    Raises:
        LaunchError: others may read it.
    """
    if others_may_read(status, os.geteuid(), {os.getegid(), *os.getgroups()}):
        raise LaunchError(
            name, "others than its owner may read it", "a file of mode 600 or 400, or root's for our group alone (440)"
        )


def require_unaltered(status: os.stat_result, name: str) -> None:
    """Of a file that says who may do what.

    Raises:
        LaunchError: others than its owner may write to it.
    """
    if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise LaunchError(name, "others than its owner may write to it", "a file of mode 600, 640 or 644")


def others_may_read(status: os.stat_result, user: int, groups: Collection[int]) -> bool:
    """Whether a file is open to others than its owner and us.

    A group's right to read passes only where it is the sole way in: the file is root's, and we are not root.
    """
    mode = stat.S_IMODE(status.st_mode)
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return False
    mounted = status.st_uid == _ROOT != user and status.st_gid in groups
    return not mounted or bool(mode & (stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP))
