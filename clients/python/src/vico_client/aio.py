"""The asyncio client: `Client` word for word, with `await`. Pictures are encoded and decoded off the event loop."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc.aio
from PIL import Image
from tritonclient.grpc import service_pb2

from vico_client.aio_stream import AsyncPictureStream
from vico_client.channel import closed_error, open_channel, typed_call_errors
from vico_client.concepts import ConceptList, ConceptsRequest
from vico_client.errors import DeadlineExceeded, Unavailable, VicoClientError
from vico_client.exchange import Answer, Exchange, Generation
from vico_client.journey import Journey, affinity
from vico_client.messages import GenerateOptions, GenerateRequest, GenerateResult
from vico_client.remarks import warn_user
from vico_client.retry import Retry
from vico_client.servers import Servers
from vico_client.settings import TLS, Addresses, checked_timeout, make_settings
from vico_client.stream_messages import StreamOptions, StreamRequest
from vico_client.tracing import trace_metadata
from vico_client.wire import INFER, MODEL, MODEL_READY, STREAM_INFER

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class AsyncClient:
    """Asks ViCo servers for pictures; keeps a connection to each open; belongs to the event loop of its first call."""

    def __init__(
        self,
        address: Addresses | None = None,
        *,
        timeout: float | None = None,
        tls: TLS | None = None,
        api_key: str | None = None,
        retry: Retry | None = None,
    ) -> None:
        """address: `host:port` of a server, or several. timeout: seconds for each call that names none.

        What is not given comes from the environment (VICO_ADDRESS, VICO_TIMEOUT, VICO_API_KEY, VICO_TLS_…, see
        `vico_client.settings`), then from the defaults: localhost:8001, 120 s, no TLS, no key, `Retry()`.
        """
        self._settings = make_settings(address, timeout, tls, api_key)
        self._retry = retry or Retry()
        self._servers = Servers(self._settings.addresses)
        self._channels: dict[str, Any] = {}  # made by the first calls: grpc.aio binds a channel to the running loop
        self._closed = False
        if self._settings.tls is not None:
            self._settings.tls.credentials()  # a missing file is named here, as by `Client`, not at the first call

    @property
    def address(self) -> str:
        """Of the server; of several, with commas between."""
        return ",".join(self._settings.addresses)

    @property
    def timeout(self) -> float:
        """Seconds for each call that names none."""
        return self._settings.timeout

    async def generate(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> list[Image.Image]:
        """`num_images` pictures of `prompt`. The options are the fields of `GenerateRequest`; timeout in seconds.

        Raises a VicoClientError: InvalidRequest, ConceptNotFound, ConceptRejected, NotAllowed, Overloaded,
        DeadlineExceeded, Unavailable, UntrustedServer or ServerError. Warnings of the server come as VicoWarning.
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
        seconds = checked_timeout(timeout, self.timeout)
        return await self._ask(await asyncio.to_thread(Generation, request), seconds)

    def submit(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> asyncio.Task[GenerateResult]:
        """As `send` of these options, begun at once: a task; cancelling it ends the request at the server."""
        return asyncio.ensure_future(self.send(GenerateRequest(prompt, **options), timeout=timeout))

    def stream(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[StreamOptions]
    ) -> AsyncPictureStream:
        """As `generate`, watched: `async for` over `Progress`, `Preview` and, in the end, every `Picture`.

        The options are the fields of `StreamRequest`.
        """
        request = StreamRequest(prompt, **options)
        journey = Journey(self._servers, self._retry, affinity(request), checked_timeout(timeout, self.timeout))
        return AsyncPictureStream(request, journey, self._open_stream)

    async def concepts(self, pattern: str = "*", *, timeout: float | None = None) -> ConceptList:
        """The concepts that this client may ask for, by name. In `pattern` `*` stands for any characters, `?` for one.

        Raises a VicoClientError, as `generate` does.
        """
        return await self._ask(ConceptsRequest(pattern), checked_timeout(timeout, self.timeout))

    async def ready(self, *, timeout: float = 5.0) -> bool:
        """Whether a server answers within `timeout` seconds and can generate pictures."""
        seconds = checked_timeout(timeout, self.timeout)
        answers = await asyncio.gather(*(self._ready(address, seconds) for address in self._settings.addresses))
        return any(answers)

    def acting_for(self, api_key: str | None, user: str | None = None) -> Self:
        """This client with another API key (None = without one), over the same connections: close this one only.

        user: on whose behalf, where the key is that of an application: its users then share the server equally.
        """
        other = copy.copy(self)
        other._settings = self._settings.acting_for(api_key, user)
        return other

    async def close(self) -> None:
        """Close the connections; calls under way are cancelled."""
        self._closed = True
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, exchange: Exchange[Answer], seconds: float) -> Answer:
        journey = Journey(self._servers, self._retry, exchange.key, seconds)
        while True:
            try:
                with journey.visit() as address:
                    left = journey.seconds_left
                    answer = await self._call(address, exchange.message(left), left, exchange.request_id)
                    return await asyncio.to_thread(exchange.read, answer)
            except VicoClientError as error:
                await asyncio.sleep(journey.pause_after(error))

    def _channel(self, address: str) -> Any:
        if self._closed:
            raise closed_error()
        if address not in self._channels:
            self._channels[address] = open_channel(grpc.aio, address, self._settings)
        return self._channels[address]

    async def _call(self, address: str, message: bytes, seconds: float, request_id: str) -> bytes:
        """Cancelling the task that awaits it cancels the call."""
        metadata = self._settings.metadata + trace_metadata()
        with typed_call_errors(address, request_id):
            call = self._channel(address).unary_unary(INFER)
            answer: bytes = await call(message, timeout=seconds, metadata=metadata)
            return answer

    def _open_stream(self, address: str, message: bytes, seconds: float) -> Any:
        async def request() -> AsyncIterator[bytes]:
            yield message

        metadata = self._settings.metadata + trace_metadata()
        return self._channel(address).stream_stream(STREAM_INFER)(request(), timeout=seconds, metadata=metadata)

    async def _ready(self, address: str, seconds: float) -> bool:
        question = service_pb2.ModelReadyRequest(name=MODEL).SerializeToString()
        ask = self._channel(address).unary_unary(MODEL_READY)
        try:
            with typed_call_errors(address):
                answer = await ask(question, timeout=seconds, metadata=self._settings.metadata)
        except (Unavailable, DeadlineExceeded):
            return False
        return bool(service_pb2.ModelReadyResponse.FromString(answer).ready)
