"""Whose call it is: by the key in its `authorization` header, and by nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import grpc

from serving.front.keys import Key, KeyFile
from serving.front.refusal import Refused

HEADER = "authorization"
_SCHEME = "Bearer "
USER_HEADER = "vico-user"
_USER = re.compile(r"[0-9a-f]{32}")
LOCAL = Key(client="local", tenant="local", sha256="0" * 64, users=True)
"""Whoever calls a server without keys, which listens on loopback only unless it was told to be insecure."""


def identify(metadata: Iterable[tuple[str, Any]], keys: KeyFile | None) -> Key:
    """The key of a call.

    Args:
        metadata: of the call.
        keys: None = anybody is `LOCAL`.

    Raises:
        Refused: no key, several, one of another form, or an unknown one; which of them is not said.
    """
    if keys is None:
        return LOCAL
    shown = [value for name, value in metadata if name == HEADER]
    if len(shown) == 1 and isinstance(shown[0], str) and shown[0].startswith(_SCHEME):
        key = keys.find(shown[0].removeprefix(_SCHEME))
        if key is not None:
            return key
    raise Refused(
        grpc.StatusCode.UNAUTHENTICATED, HEADER, "no valid API key", "one header `authorization: Bearer <key>`"
    )


def sharer(metadata: Iterable[tuple[str, Any]], key: Key) -> str:
    """Whose share of the queue a call takes: the client's, or where its key allows it that of one of its users.

    Limits of calls at once and of calls a minute stay the client's, whatever users it names.

    Args:
        metadata: of the call; `vico-user`, 32 hex digits of the client's choice, names the user.
        key: that was shown.
    """
    named = [value for name, value in metadata if name == USER_HEADER]
    if key.users and len(named) == 1 and isinstance(named[0], str) and _USER.fullmatch(named[0]):
        return f"{key.client}:{named[0]}"
    return key.client
