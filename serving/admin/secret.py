"""How the admin service's own secret is shown."""

from __future__ import annotations

import hmac


def bearer(secret: str) -> str:
    """What goes into the metadata `authorization`."""
    return f"Bearer {secret}"


def matches(given: str, secret: str) -> bool:
    """Whether `given` is the secret's header; the time that takes tells nothing about the secret."""
    return hmac.compare_digest(given.encode(errors="replace"), bearer(secret).encode())
