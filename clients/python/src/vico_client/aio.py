"""The asyncio client: `Client` word for word, with `await`. Pictures are encoded and decoded off the event loop."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any

from PIL import Image
from tritonclient.grpc.aio import InferenceServerClient

from vico_client.connection import (
    DEFAULT_ADDRESS,
    DEFAULT_TIMEOUT,
    MODEL,
    TLS,
    channel_arguments,
    checked_timeout,
    closed_error,
    infer_arguments,
    key_headers,
    typed_errors,
    warn_user,
)
from vico_client.decode import decode_result
from vico_client.errors import DeadlineExceeded, Unavailable
from vico_client.messages import GenerateOptions, GenerateRequest, GenerateResult

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class AsyncClient:
    """Asks one ViCo server for pictures; keeps one connection open; belongs to the event loop of its first call."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        tls: TLS | None = None,
        api_key: str | None = None,
    ) -> None:
        """address: `host:port` of the server's gRPC port. timeout: seconds for each call that names none.

        api_key: for a server that asks for one; that of the environment variable VICO_API_KEY if left out.
        """
        self.address = address
        self.timeout = checked_timeout(timeout, DEFAULT_TIMEOUT)
        self._headers = key_headers(api_key)
        self._channel_arguments = channel_arguments(address, tls)
        self._channel: Any = None  # made by the first call: grpc.aio binds a channel to the running loop
        self._closed = False

    async def generate(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> list[Image.Image]:
        """`num_images` pictures of `prompt`. The options are the fields of `GenerateRequest`; timeout in seconds.

        Raises a VicoClientError: InvalidRequest, ConceptNotFound, ConceptRejected, NotAllowed, Overloaded,
        DeadlineExceeded, Unavailable or ServerError. Warnings of the server come as VicoWarning.
        """
        result = await self.send(GenerateRequest(prompt, **options), timeout=timeout)
        warn_user(result.info, stacklevel=2)
        return list(result.images)

    async def generate_result(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> GenerateResult:
        """As `generate`, with all the server said: the files as sent, seed, size, concept digest, warnings, timings."""
        result = await self.send(GenerateRequest(prompt, **options), timeout=timeout)
        warn_user(result.info, stacklevel=2)
        return result

    async def send(self, request: GenerateRequest, *, timeout: float | None = None) -> GenerateResult:
        """As `generate_result` for a ready-made request; the server's warnings are in the result only."""
        arguments = await asyncio.to_thread(
            infer_arguments, request, checked_timeout(timeout, self.timeout), self._headers
        )
        with typed_errors(self.address, request.request_id):
            answer = await self._rpc().infer(**arguments)
        return await asyncio.to_thread(decode_result, answer.get_response(), request)

    async def ready(self, *, timeout: float = 5.0) -> bool:
        """Whether the server answers within `timeout` seconds and can generate pictures."""
        seconds = checked_timeout(timeout, self.timeout)
        try:
            with typed_errors(self.address):
                return bool(await self._rpc().is_model_ready(MODEL, headers=self._headers, client_timeout=seconds))
        except (Unavailable, DeadlineExceeded):
            return False

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _rpc(self) -> Any:
        if self._closed:
            raise closed_error()
        if self._channel is None:
            self._channel = InferenceServerClient(**self._channel_arguments)
        return self._channel
