"""A client that answers without a server, and calls of the gateway in front of it, in this process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from PIL import Image
from vico_client import (
    Concept,
    ConceptList,
    GenerateInfo,
    GenerateRequest,
    GenerateResult,
    InvalidRequest,
    Picture,
    Preview,
    Progress,
    ServerWarning,
    StreamEvent,
)
from vico_client.gateway import Limits, create_app

DIGEST = "0123456789abcdef" * 4
INFO = GenerateInfo(
    seed=7,
    steps=4,
    sampler="unipc",
    height=24,
    width=16,
    concept="",
    warnings=(ServerWarning("prompt_truncated", "77 of 90 tokens were used"),),
    timings={"unet_loop": 1.5},
    preset="fast",
)


def encoded(output_format: str = "png", size: tuple[int, int] = (16, 24)) -> bytes:
    """A plain picture."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 90)).save(buffer, format=output_format)
    return buffer.getvalue()


class FakeStream:
    """As `AsyncPictureStream`; an event that is an error is raised."""

    def __init__(self, request_id: str, events: list[StreamEvent | Exception]) -> None:
        self.request_id = request_id
        self.info: GenerateInfo | None = None
        self.closed = False
        self._events = self._told(events)

    async def _told(self, events: list[StreamEvent | Exception]) -> AsyncIterator[StreamEvent]:
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event
        self.info = INFO

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> StreamEvent:
        return await self._events.__anext__()

    async def close(self) -> None:
        self.closed = True


@dataclass
class FakeClient:
    """As `AsyncClient`. error: raised by every call; block: calls do not end by themselves."""

    error: Exception | None = None
    block: bool = False
    names: list[str] = field(default_factory=lambda: ["bear", "toy"])
    events: list[StreamEvent | Exception] = field(default_factory=list)
    requests: list[GenerateRequest] = field(default_factory=list)
    keys: list[tuple[str | None, str | None]] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    streams: list[FakeStream] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False

    def acting_for(self, api_key: str | None, user: str | None = None) -> FakeClient:
        self.keys.append((api_key, user))
        return self

    async def send(self, request: GenerateRequest, *, timeout: float | None = None) -> GenerateResult:
        self.requests.append(request)
        self.timeouts.append(timeout)
        await self._maybe()
        count, file = request.num_images or 1, encoded(request.output_format or "png")
        if count > 8:
            raise InvalidRequest(f"{count}", field="num_images", hint="1 to 8")
        images = tuple(Image.open(io.BytesIO(file)) for _ in range(count))
        return GenerateResult(images, (memoryview(file),) * count, INFO, request.request_id)

    def stream(self, prompt: str, *, timeout: float | None, **options: Any) -> FakeStream:
        self.requests.append(GenerateRequest(prompt, **options))
        self.timeouts.append(timeout)
        error: list[StreamEvent | Exception] = [] if self.error is None else [self.error]
        self.streams.append(FakeStream("r-1", error or self.events))
        return self.streams[-1]

    async def concepts(self, pattern: str = "*") -> ConceptList:
        await self._maybe()
        found = [name for name in self.names if pattern in ("*", name)]
        return ConceptList([Concept(name, f"{name}@{DIGEST}") for name in found], more=False)

    async def close(self) -> None:
        self.closed = True

    async def _maybe(self) -> None:
        if self.block:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if self.error is not None:
            raise self.error


def making(steps: int = 4, pictures: int = 1) -> list[StreamEvent | Exception]:
    """The events of a request: a report after every step, and the pictures."""
    events: list[StreamEvent | Exception] = []
    for step in range(1, steps + 1):
        events.append(Progress(step, steps, (step,) * pictures, 0.5))
        events += [Preview(index, step, Image.new("RGB", (8, 8))) for index in range(pictures)]
    file = encoded()
    return [*events, *(Picture(index, Image.new("RGB", (16, 24)), memoryview(file)) for index in range(pictures))]


def app_of(client: FakeClient, limits: Limits | None = None, *, serves: bool = True) -> FastAPI:
    """The gateway before a fake client."""

    async def ready() -> bool:
        return serves

    return create_app(client, ready, limits)  # type: ignore[arg-type]


def call(app: FastAPI, method: str, path: str, **request: Any) -> httpx.Response:
    """One HTTP request."""

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            return await http.request(method, path, **request)

    return asyncio.run(main())


def generate(app: FastAPI, **fields: Any) -> httpx.Response:
    """POST /v1/images/generations."""
    return call(app, "POST", "/v1/images/generations", json={"prompt": "a photo of *", **fields})


def edit(app: FastAPI, photo: bytes | None = None, name: str = "image", **fields: Any) -> httpx.Response:
    """POST /v1/images/edits."""
    files = {name: ("photo.png", encoded() if photo is None else photo, "image/png")}
    return call(app, "POST", "/v1/images/edits", files=files, data={"prompt": "a photo of *", **fields})
