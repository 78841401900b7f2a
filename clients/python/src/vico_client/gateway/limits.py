"""How much a request may bring: refused by its declared length at once, otherwise at the first byte too many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image
from starlette.exceptions import HTTPException

from vico_client.gateway.refusal import Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_TEXT_BYTES = 64 * 1024  # of all fields but the photo
_FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True)
class Limits:
    """photo_bytes, photo_pixels: of a reference photo; the server's own limits unless they are lower here."""

    photo_bytes: int = 8 * 2**20
    photo_pixels: int = 16_000_000

    def body_bytes(self, path: str) -> int:
        """Of a whole request."""
        return _TEXT_BYTES + (self.photo_bytes if path.endswith("/edits") else 0)

    def check_photo(self, photo: bytes) -> None:
        """Refusal unless its header is that of a picture of an accepted kind and size; pixels are not decoded here."""
        accepted = f"PNG, JPEG or WebP of at most {self.photo_bytes} bytes and {self.photo_pixels} pixels"
        if len(photo) > self.photo_bytes:
            raise _bad_photo(f"{len(photo)} bytes", accepted)
        try:
            with Image.open(BytesIO(photo), formats=_FORMATS) as opened:
                width, height = opened.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise _bad_photo("not a picture that can be read", accepted) from None
        if width * height > self.photo_pixels:
            raise _bad_photo(f"{width} x {height} pixels", accepted)


def too_large(limit: int) -> Refusal:
    """For a body of more bytes than `limit`."""
    return Refusal(
        413, "invalid_request_error", "request_too_large", f"the request is too large; accepted: at most {limit} bytes"
    )


class BodyLimit:
    """ASGI middleware: no request is read beyond its limit."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, read = self._limits.body_bytes(scope["path"]), 0
        declared = dict(scope["headers"]).get(b"content-length", b"0")

        async def limited() -> Message:
            nonlocal read
            if declared.isdigit() and int(declared) > limit:
                raise HTTPException(413, detail=str(limit))
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413, detail=str(limit))
            return message

        await self._app(scope, limited, send)


def _bad_photo(problem: str, accepted: str) -> Refusal:
    return Refusal(
        400, "invalid_request_error", "invalid_value", f"image: {problem}; accepted: {accepted}", param="image"
    )
