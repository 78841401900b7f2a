"""One question and its answer, as both clients ask it: server after server, in the same words."""

from __future__ import annotations

from typing import Protocol, TypeVar

from vico_client.decode import decode_message
from vico_client.encode import tensors
from vico_client.journey import affinity
from vico_client.messages import GenerateRequest, GenerateResult
from vico_client.wire import request_message

Answer = TypeVar("Answer", covariant=True)


class Exchange(Protocol[Answer]):
    """A question. request_id: names it in the server's logs. key: questions of one key go to the same server."""

    @property
    def request_id(self) -> str: ...  # noqa: D102

    @property
    def key(self) -> str: ...  # noqa: D102

    def message(self, timeout: float) -> bytes:
        """A serialized ModelInferRequest; timeout: seconds."""

    def read(self, message: bytes) -> Answer:
        """From a serialized ModelInferResponse; ServerError if it is none."""


class Generation:
    """A request for pictures. InvalidRequest names a field that cannot be put on the wire."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._inputs = tensors(request)
        self.request_id = request.request_id
        self.key = affinity(request)

    def message(self, timeout: float) -> bytes:
        """See `Exchange`."""
        return request_message(self._inputs, self.request_id, timeout)

    def read(self, message: bytes) -> GenerateResult:
        """See `Exchange`."""
        return decode_message(message, self._request)
