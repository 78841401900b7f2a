"""A request as a stream of server-sent events, in OpenAI's words: partial images, then each picture, completed."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Literal

from vico_client.aio_stream import AsyncPictureStream
from vico_client.errors import VicoClientError
from vico_client.gateway.answers import base64_text, told
from vico_client.gateway.fields import ImageFields
from vico_client.gateway.refusal import refusal_of
from vico_client.messages import GenerateInfo
from vico_client.stream_messages import Picture, Preview, Progress, StreamEvent

Family = Literal["image_generation", "image_edit"]


class Relay:
    """Of one stream. family: how OpenAI names the events of this endpoint."""

    def __init__(self, asked: ImageFields, stream: AsyncPictureStream, family: Family) -> None:
        self._asked = asked
        self._stream = stream
        self._family = family
        self._first: StreamEvent | None = None
        self._steps = 1
        self._sent: Counter[int] = Counter()  # partial images, by picture

    async def open(self) -> None:
        """Wait for the first word: a refusal is raised while the answer can still have an HTTP status for it."""
        try:
            self._first = await self._stream.__anext__()
        except BaseException:
            await self._stream.close()
            raise

    async def events(self) -> AsyncIterator[bytes]:
        """The body. Progress goes as comments, which keep the connection open; leaving it frees the server."""
        held: Picture | None = None  # the last picture: what the server did is known right after it
        try:
            async for event in self._all():
                if isinstance(event, Progress):
                    self._steps = event.steps
                    yield f": step {event.step} of {event.steps}\n\n".encode()
                elif isinstance(event, Preview) and self._is_due(event):
                    yield await asyncio.to_thread(self._partial, event)
                elif isinstance(event, Picture):
                    if held is not None:
                        yield await asyncio.to_thread(self._completed, held, None)
                    held = event
            if held is not None:
                yield await asyncio.to_thread(self._completed, held, self._stream.info)
        except VicoClientError as error:
            yield _event("error", {"type": "error", **refusal_of(error).body})
        finally:
            await self._stream.close()

    async def _all(self) -> AsyncIterator[StreamEvent]:
        if self._first is not None:
            yield self._first
        async for event in self._stream:
            yield event

    def _is_due(self, preview: Preview) -> bool:
        """They are spread evenly over the steps."""
        wanted, sent = self._asked.partial_images or 0, self._sent[preview.index]
        due = sent < wanted and preview.step * (wanted + 1) >= self._steps * (sent + 1)
        self._sent[preview.index] += due
        return due

    def _partial(self, preview: Preview) -> bytes:
        buffer = io.BytesIO()
        preview.image.save(buffer, format=self._format)
        number = self._sent[preview.index] - 1
        more = {"partial_image_index": number, "vico": {"index": preview.index, "step": preview.step}}
        return self._image("partial_image", buffer.getbuffer(), preview.image.size, more)

    def _completed(self, picture: Picture, info: GenerateInfo | None) -> bytes:
        extension: dict[str, Any] = {"index": picture.index, "request_id": self._stream.request_id}
        if info is not None:
            extension.update(told(self._stream.request_id, info).model_dump())
        return self._image("completed", picture.file, picture.image.size, {"usage": None, "vico": extension})

    def _image(self, kind: str, file: memoryview, size: tuple[int, int], more: dict[str, Any]) -> bytes:
        name = f"{self._family}.{kind}"
        content = {
            "type": name,
            "b64_json": base64_text(file),
            "created_at": int(time.time()),
            "background": "opaque",
            "output_format": self._format,
            "quality": self._asked.quality or "auto",
            "size": f"{size[0]}x{size[1]}",
            **more,
        }
        return _event(name, content)

    @property
    def _format(self) -> str:
        return self._asked.output_format or "png"


def _event(name: str, content: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()
