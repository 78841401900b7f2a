"""A stream's responses as events; remembers what was given, so that a stream can begin anew at another server."""

from __future__ import annotations

import json
from typing import Any

from vico_client.decode import NONSENSE, bytes_elements, read_image, read_info
from vico_client.errors import ServerError
from vico_client.messages import GenerateInfo, GenerateRequest
from vico_client.stream_messages import Picture, Preview, Progress, StreamEvent
from vico_client.wire import read_answer, stream_answer

OUTPUTS = ("event", "preview", "images", "info")


class StreamReader:
    """Of one request. info: what the server did, once the stream has ended."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._given: set[int] = set()
        self.info: GenerateInfo | None = None

    def read(self, message: bytes) -> list[StreamEvent]:
        """The events of one ModelStreamInferResponse; no picture twice. ServerError if it is none."""
        try:
            answer = read_answer(stream_answer(message))
            event = json.loads(bytes(bytes_elements(answer, "event")[0]))
            return self._events(event, answer)
        except NONSENSE as error:
            raise self._malformed(str(error)) from error

    def require_end(self) -> None:
        """ServerError if the stream stopped before its end."""
        if self.info is None or len(self._given) != (self._request.num_images or len(self._given)):
            raise self._malformed("the stream stopped before its end")

    def _events(self, event: dict[str, Any], answer: Any) -> list[StreamEvent]:
        kind = event["type"]
        if kind == "progress":
            return self._progress(event, answer)
        if kind == "image":
            return self._picture(event, answer)
        if kind == "end":
            (info,) = bytes_elements(answer, "info")
            self.info = read_info(info)
        # of another kind: of a newer server
        return []

    def _progress(self, event: dict[str, Any], answer: Any) -> list[StreamEvent]:
        left, done = event["seconds_left"], tuple(int(step) for step in event["done"])
        progress = Progress(int(event["step"]), int(event["steps"]), done, None if left is None else float(left))
        previews = [
            Preview(index, step, read_image(file))
            for index, (step, file) in enumerate(zip(done, bytes_elements(answer, "preview")))
            if file
        ]
        return [progress, *previews]

    def _picture(self, event: dict[str, Any], answer: Any) -> list[StreamEvent]:
        index = int(event["index"])
        if index in self._given:
            return []
        (file,) = bytes_elements(answer, "images")
        raw = self._request.output_format == "raw"
        size = (int(event["height"]), int(event["width"])) if raw else None
        picture = Picture(index, read_image(file, size), file)
        self._given.add(index)
        return [picture]

    def _malformed(self, problem: str) -> ServerError:
        return ServerError(f"malformed answer: {problem}", request_id=self._request.request_id)
