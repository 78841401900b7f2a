"""API keys: a file of their hashes, and who each belongs to.

A key is 256 random bits, so its SHA-256 needs no salt and no slow hash: nobody can try that many. The file holds
nothing that lets anyone in; it is read again when it changes, so a revoked key is refused at the next call.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from serving.errors import LaunchError
from serving.secret_file import require_unaltered
from vico.concept.atomic import write_atomically

PREFIX = "vico_"

_CONFIG = ConfigDict(extra="forbid")
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._*?-]{1,64}$")]


@dataclass(frozen=True, config=_CONFIG)
class Key:
    """One client's key."""

    client: Name
    tenant: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    concepts: tuple[Pattern, ...] = ("*",)
    """Patterns (`*`, `?`) of the concept ids that this client sees."""
    requests_per_minute: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """None = as many as it likes."""
    users: bool = False
    """It is an application's, whose calls may tell its users apart: each has a client's share of the queue."""


_KEYS = TypeAdapter(tuple[Key, ...])


def make_key() -> str:
    """A new key, to be shown once."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """What the file keeps of a key."""
    return sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        LaunchError: absent or malformed, or others may write to it.
    """
    try:
        require_unaltered(path.stat(), "keys")
        return _KEYS.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise LaunchError("keys", "no such file", "a file made by `vico keys add`") from None
    except (OSError, ValidationError):
        raise LaunchError("keys", "malformed, or not to be read", "a file made by `vico keys add`") from None


def write_keys(path: Path, keys: Iterable[Key]) -> None:
    """Replace the file at once; only its owner may read it."""
    text = json.dumps([asdict(key) for key in keys], indent=1) + "\n"
    write_atomically(path, text.encode())
    path.chmod(0o600)


def find(keys: Sequence[Key], shown: str) -> Key | None:
    """Whose key it is. Takes the same time whichever it is: every hash is compared, each in constant time."""
    digest, found = hashed(shown), None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


class KeyFile:
    """The keys that count now. A file that turned bad leaves those of its last good version; one taken away, none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._stamp_now()
        self._keys = read_keys(path)

    def find(self, shown: str) -> Key | None:
        """Whose key it is, by the file as it is now."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._read(stamp)
        return find(self._keys, shown)

    def _read(self, stamp: tuple[int, ...]) -> None:
        try:
            self._keys = read_keys(self._path) if stamp else ()
        except LaunchError:
            return
        self._stamp = stamp

    def _stamp_now(self) -> tuple[int, ...]:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - one call, all fields
        except OSError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns
