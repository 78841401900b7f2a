"""A seal on what one of our processes hands to another through Triton.

The stages trust a request because the first one validated it, and the first one a caller's name because the front
door checked the key: the seal is how they know. A sealed text of one purpose does not pass for one of another.
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
    purpose: str = "request"
    """The tensor that carries the text."""

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
            raise InvalidField(self.purpose, "not sealed by the server", "calls of the model `vico`")
        return content.decode()

    def of(self, purpose: str) -> Seal:
        """A seal of the same secret for another tensor."""
        return Seal(self.secret, purpose)

    def _code(self, content: bytes) -> bytes:
        return hmac.new(self.secret.encode(), self.purpose.encode() + b"\0" + content, sha256).hexdigest().encode()
