"""What comes back for one request, and when; checked as far as that needs no decoding of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vico_client.decode import NONSENSE, bytes_elements
from vico_client.errors import ServerError
from vico_client.messages import GenerateRequest
from vico_client.wire import read_answer, stream_answer

Clock = Callable[[], float]  # seconds from the start of the test


@dataclass(frozen=True)
class Received:
    """files: encoded pictures. Instants: seconds from the start of the test; the first ones of streams only."""

    files: list[memoryview]
    info: dict[str, Any]
    done: float
    first_preview: float | None = None
    first_picture: float | None = None

    def outcome(self) -> dict[str, Any]:
        """As fields of a record."""
        times = {"done": self.done, "first_preview": self.first_preview, "first_picture": self.first_picture}
        return {"images": len(self.files), "size": sum(map(len, self.files)), "info": self.info, **times}


class WholeAnswer:
    """The one answer of a unary call."""

    def __init__(self, request: GenerateRequest, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self.received = Received([], {}, 0.0)

    def read(self, message: bytes) -> None:
        """A serialized ModelInferResponse. ServerError if it is none."""
        done = self._clock()
        with _reading(self._request):
            answer = read_answer(message)
            files = bytes_elements(answer, "images")
            _require(self._request, len(files))
            self.received = Received(files, _info(answer), done)


class WatchedAnswer:
    """The answers of a stream, as they come."""

    def __init__(self, request: GenerateRequest, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._files: dict[int, memoryview] = {}
        self._info: dict[str, Any] | None = None
        self._first_preview: float | None = None
        self._first_picture: float | None = None
        self._done = 0.0

    def read(self, message: bytes) -> None:
        """A serialized ModelStreamInferResponse. ServerError if it is none."""
        now = self._clock()
        with _reading(self._request):
            answer = read_answer(stream_answer(message))
            event = json.loads(bytes(bytes_elements(answer, "event")[0]))
            if event["type"] == "progress" and any(map(len, bytes_elements(answer, "preview"))):
                self._first_preview = now if self._first_preview is None else self._first_preview
            elif event["type"] == "image":
                (self._files[int(event["index"])],) = bytes_elements(answer, "images")
                self._first_picture = now if self._first_picture is None else self._first_picture
                self._done = now
            elif event["type"] == "end":
                self._info = _info(answer)

    def end(self) -> Received:
        """All of it. ServerError if the stream stopped before its end."""
        with _reading(self._request):
            if self._info is None:
                raise ValueError("the stream stopped before its end")
            _require(self._request, len(self._files))
        files = [self._files[index] for index in sorted(self._files)]
        return Received(files, self._info or {}, self._done, self._first_preview, self._first_picture)


@contextmanager
def _reading(request: GenerateRequest) -> Iterator[None]:
    try:
        yield
    except NONSENSE as error:
        raise ServerError(f"malformed answer: {error}", request_id=request.request_id) from error


def _require(request: GenerateRequest, count: int) -> None:
    if count != (request.num_images or 1):
        raise ValueError(f"{count} images for the {request.num_images or 1} asked for")


def _info(answer: Any) -> dict[str, Any]:
    (text,) = bytes_elements(answer, "info")
    info = json.loads(bytes(text))
    if not isinstance(info, dict):
        raise ValueError("info is not an object")
    return info
