"""Whose call it is: by the key in its `authorization` header, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from serving.front.keys import Key, KeyFile
from serving.front.refusal import Refused

HEADER = "authorization"
_SCHEME = "Bearer "
LOCAL = Key(client="local", tenant="local", sha256="0" * 64)
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
