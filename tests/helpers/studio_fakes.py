"""A picture server without a server, and a trainer without training."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from vico_client import Cancelled, Concept, ConceptList, Picture, Preview, Progress, VicoClientError

from studio.order import Order

TINY = Image.new("RGB", (8, 8), (200, 30, 90))


def png(image: Image.Image = TINY) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class FakeStream:
    """Tells of one step, then waits for `gate`, then gives its picture or raises `error`."""

    gate: threading.Event
    error: VicoClientError | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __iter__(self) -> Iterator[object]:
        yield Progress(1, 4, (1,), 2.0)
        yield Preview(0, 1, TINY)
        while not self.gate.wait(0.01):
            if self.cancelled.is_set():
                raise Cancelled("given up by the caller")
        if self.error is not None:
            raise self.error
        yield Picture(0, TINY, memoryview(png()))

    def cancel(self) -> None:
        self.cancelled.set()


@dataclass
class FakeClient:
    """`vico_client.Client`, as far as the studio asks it."""

    names: dict[str, str] = field(default_factory=dict)
    open: bool = True
    errors: dict[str, VicoClientError] = field(default_factory=dict)  # by prompt
    unreachable: VicoClientError | None = None
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    streams: list[FakeStream] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if self.open:
            self.gate.set()

    def stream(self, prompt: str, **options: Any) -> Any:
        self.asked.append((prompt, options))
        self.streams.append(FakeStream(self.gate, self.errors.get(prompt)))
        return self.streams[-1]

    def concepts(self, pattern: str = "*", *, timeout: float | None = None) -> ConceptList:
        if self.unreachable is not None:
            raise self.unreachable
        found = [Concept(name, version) for name, version in self.names.items() if pattern in ("*", name)]
        return ConceptList(found, more=False)


STEP: dict[str, Any] = {"event": "step", "step": 1, "steps": 2, "loss": 0.5, "seconds": 1.0}
WRITTEN: dict[str, Any] = {"event": "written", "concept": "disc", "digest": "0" * 64}
PHOTOS: dict[str, Any] = {
    "event": "photos",
    "photos": [{"name": "1.png", "photo": "QQ==", "masked": "Qg==", "enlarged": False}],
}
REFUSED: dict[str, Any] = {"event": "refused", "field": "init word", "problem": "it is empty", "accepted": "a word"}


def telling(*events: dict[str, Any] | str, then: str = "") -> list[str]:
    """The command of a child that prints these lines, and then runs `then`."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return [sys.executable, "-S", "-c", f"for line in {lines!r}: print(line, flush=True)\n{then}"]


SLEEPS = "import time; time.sleep(600)"


def an_order(*photos: Path, **changes: Any) -> Order:
    return Order(**{"name": "disc", "word": "toy", "photos": photos, **changes})
