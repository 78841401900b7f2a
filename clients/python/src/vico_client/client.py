"""The blocking client."""

from __future__ import annotations

import contextvars
import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc
from PIL import Image
from tritonclient.grpc import service_pb2

from vico_client.channel import closed_error, open_channel, typed_call_errors
from vico_client.concepts import ConceptList, ConceptsRequest
from vico_client.errors import Cancelled, DeadlineExceeded, Unavailable, VicoClientError
from vico_client.exchange import Answer, Exchange, Generation
from vico_client.journey import Journey, affinity
from vico_client.messages import GenerateOptions, GenerateRequest, GenerateResult
from vico_client.pending import Cancellation, PendingResult
from vico_client.remarks import warn_user
from vico_client.retry import Retry
from vico_client.servers import Servers
from vico_client.settings import TLS, Addresses, checked_timeout, make_settings
from vico_client.stream import PictureStream
from vico_client.stream_messages import StreamOptions, StreamRequest
from vico_client.tracing import trace_metadata
from vico_client.wire import INFER, MODEL, MODEL_READY, STREAM_INFER

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class Client:
    """Asks ViCo servers for pictures; keeps a connection to each open; may be shared by threads."""

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
        self._channels = {name: open_channel(grpc, name, self._settings) for name in self._settings.addresses}
        self._infer = {name: channel.unary_unary(INFER) for name, channel in self._channels.items()}
        self._under_way: set[Cancellation] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def address(self) -> str:
        """Of the server; of several, with commas between."""
        return ",".join(self._settings.addresses)

    @property
    def timeout(self) -> float:
        """Seconds for each call that names none."""
        return self._settings.timeout

    def generate(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> list[Image.Image]:
        """`num_images` pictures of `prompt`. The options are the fields of `GenerateRequest`; timeout in seconds.

        Raises a VicoClientError: InvalidRequest, ConceptNotFound, ConceptRejected, NotAllowed, Overloaded,
        DeadlineExceeded, Unavailable, UntrustedServer, Cancelled or ServerError. Warnings of the server come as
        VicoWarning.
        """
        result = self.send(GenerateRequest(prompt, **options), timeout=timeout)
        warn_user(result.info, stacklevel=2)
        return list(result.images)

    def generate_result(
        self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]
    ) -> GenerateResult:
        """As `generate`, with all the server said: the files as sent, seed, size, concept digest, warnings, timings."""
        result = self.send(GenerateRequest(prompt, **options), timeout=timeout)
        warn_user(result.info, stacklevel=2)
        return result

    def send(self, request: GenerateRequest, *, timeout: float | None = None) -> GenerateResult:
        """As `generate_result` for a ready-made request; the server's warnings are in the result only."""
        seconds = checked_timeout(timeout, self.timeout)
        return self._ask(Generation(request), seconds, Cancellation(ends_calls=False))

    def submit(self, prompt: str, *, timeout: float | None = None, **options: Unpack[GenerateOptions]) -> PendingResult:
        """As `generate_result`, without waiting: returns at once a future that can be cancelled."""
        request, seconds = GenerateRequest(prompt, **options), checked_timeout(timeout, self.timeout)
        pending, context = PendingResult(request.request_id), contextvars.copy_context()
        pending.set_running_or_notify_cancel()
        work = threading.Thread(
            target=context.run, args=(self._fulfil, pending, request, seconds), name="vico-submit", daemon=True
        )
        work.start()
        return pending

    def stream(self, prompt: str, *, timeout: float | None = None, **options: Unpack[StreamOptions]) -> PictureStream:
        """As `generate`, watched: an iterator over `Progress`, `Preview` and, in the end, every `Picture`.

        The options are the fields of `StreamRequest`.
        """
        request = StreamRequest(prompt, **options)
        journey = Journey(self._servers, self._retry, affinity(request), checked_timeout(timeout, self.timeout))
        return PictureStream(request, journey, self._open_stream, self._counted)

    def concepts(self, pattern: str = "*", *, timeout: float | None = None) -> ConceptList:
        """The concepts that this client may ask for, by name. In `pattern` `*` stands for any characters, `?` for one.

        Raises a VicoClientError, as `generate` does.
        """
        seconds = checked_timeout(timeout, self.timeout)
        return self._ask(ConceptsRequest(pattern), seconds, Cancellation(ends_calls=False))

    def ready(self, *, timeout: float = 5.0) -> bool:
        """Whether a server answers within `timeout` seconds and can generate pictures."""
        seconds = checked_timeout(timeout, self.timeout)
        return any(self._ready(address, seconds) for address in self._settings.addresses)

    def acting_for(self, api_key: str | None, user: str | None = None) -> Self:
        """This client with another API key (None = without one), over the same connections: close this one only.

        user: on whose behalf, where the key is that of an application: its users then share the server equally.
        """
        other = copy.copy(self)
        other._settings = self._settings.acting_for(api_key, user)
        return other

    def close(self) -> None:
        """Close the connections; calls under way end as Cancelled."""
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        for cancellation in under_way:
            cancellation.cancel()
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _fulfil(self, pending: PendingResult, request: GenerateRequest, seconds: float) -> None:
        try:
            pending.set_result(self._ask(Generation(request), seconds, pending.cancellation))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever asks for the result
            pending.set_exception(error)

    def _ask(self, exchange: Exchange[Answer], seconds: float, cancellation: Cancellation) -> Answer:
        journey = Journey(self._servers, self._retry, exchange.key, seconds)
        with self._counted(cancellation):
            while True:
                try:
                    with journey.visit() as address:
                        left = journey.seconds_left
                        message = exchange.message(left)
                        return exchange.read(self._call(address, message, left, exchange.request_id, cancellation))
                except VicoClientError as error:
                    cancellation.pause(journey.pause_after(error))

    @contextmanager
    def _counted(self, cancellation: Cancellation) -> Iterator[None]:
        """Under way from here to the end of the block."""
        with self._lock:
            if self._closed:
                raise closed_error()
            self._under_way.add(cancellation)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(cancellation)

    def _open_stream(self, address: str, message: bytes, seconds: float) -> Any:
        metadata = self._settings.metadata + trace_metadata()
        ask = self._channels[address].stream_stream(STREAM_INFER)
        return ask(iter([message]), timeout=seconds, metadata=metadata)

    def _call(self, address: str, message: bytes, seconds: float, request_id: str, cancellation: Cancellation) -> bytes:
        metadata = self._settings.metadata + trace_metadata()
        infer, arguments = self._infer[address], {"timeout": seconds, "metadata": metadata}
        try:
            with typed_call_errors(address, request_id):
                answer: bytes
                if cancellation.ends_calls:
                    call = infer.future(message, **arguments)
                    cancellation.covers(call)
                    answer = call.result()
                else:
                    answer = infer(message, **arguments)
                return answer
        except (VicoClientError, grpc.FutureCancelledError, ValueError) as error:  # ValueError: of a closed channel
            if cancellation.cancelled or not isinstance(error, VicoClientError):
                raise Cancelled("given up by the caller", request_id=request_id) from error
            raise

    def _ready(self, address: str, seconds: float) -> bool:
        if self._closed:
            raise closed_error()
        question = service_pb2.ModelReadyRequest(name=MODEL).SerializeToString()
        ask = self._channels[address].unary_unary(MODEL_READY)
        try:
            with typed_call_errors(address):
                answer = ask(question, timeout=seconds, metadata=self._settings.metadata)
        except (Unavailable, DeadlineExceeded):
            return False
        return bool(service_pb2.ModelReadyResponse.FromString(answer).ready)
