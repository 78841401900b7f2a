"""A seal on what the first stage hands on.

Triton lets a client call any model of the repository, not only the ensemble. The later stages trust a request because
the first one validated it: the seal is how they know that it did.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256

from serving.errors import InvalidField


@dataclass(frozen=True)
class Seal:
    """HMAC-SHA256 under a secret that the launcher makes for each start of the server."""

    secret: str

    def close(self, text: str) -> bytes:
        """The text with its seal in front."""
        content = text.encode()
        return self._code(content) + content

    def open(self, sealed: bytes) -> str:
        """The text, if the seal is whole.

        Raises:
            InvalidField: someone else wrote it.
        """
        code, content = sealed[:64], sealed[64:]
        if not hmac.compare_digest(code, self._code(content)):
            raise InvalidField("request", "not sealed by the first stage", "calls of the model `vico`")
        return content.decode()

    def _code(self, content: bytes) -> bytes:
        return hmac.new(self.secret.encode(), content, sha256).hexdigest().encode()
