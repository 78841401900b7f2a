"""The blocking stream: progress, previews and pictures of one request as they come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vico_client.channel import typed_call_errors
from vico_client.encode import tensors
from vico_client.errors import Cancelled, VicoClientError
from vico_client.journey import Journey
from vico_client.messages import GenerateInfo
from vico_client.pending import Cancellation
from vico_client.remarks import warn_user
from vico_client.stream_messages import StreamEvent, StreamRequest
from vico_client.stream_reader import OUTPUTS, StreamReader
from vico_client.wire import STREAM_MODEL, request_message

if TYPE_CHECKING:
    from typing_extensions import Self

OpenCall = Callable[[str, bytes, float], Any]  # address, message, seconds → a grpc call that iterates over answers
During = Callable[[Cancellation], AbstractContextManager[None]]


class PictureStream(Iterator[StreamEvent]):
    """What `Client.stream` returns: iterate over it, once. Leaving it, or `cancel()`, frees the server's lanes.

    If its server is lost it begins anew, at another one if there is one, until the timeout: progress may fall back
    then, and no picture comes twice.
    """

    def __init__(self, request: StreamRequest, journey: Journey, open_call: OpenCall, during: During) -> None:
        """during: entered with the first event, left when the stream is over."""
        self.request_id = request.request_id
        self.cancellation = Cancellation(ends_calls=True)
        self._reader = StreamReader(request)
        self._events = self._read(request, journey, open_call, during)

    @property
    def info(self) -> GenerateInfo | None:
        """What the server did; None until the stream has ended."""
        return self._reader.info

    def __next__(self) -> StreamEvent:
        """The next event; raises what `Client.generate` would, and Cancelled after `cancel()`."""
        try:
            return next(self._events)
        except StopIteration:
            if self.info is not None:
                warn_user(self.info, stacklevel=2)
            raise

    def cancel(self) -> None:
        """Give the request up, from any thread."""
        self.cancellation.cancel()

    def close(self) -> None:
        """Give the request up, if it is not over; from the thread that iterates."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(
        self, request: StreamRequest, journey: Journey, open_call: OpenCall, during: During
    ) -> Generator[StreamEvent, None, None]:
        with during(self.cancellation):
            inputs = tensors(request)
            while True:
                try:
                    with journey.visit() as address:
                        left = journey.seconds_left
                        message = request_message(inputs, request.request_id, left, STREAM_MODEL, OUTPUTS)
                        yield from self._answers(open_call, address, message, left)
                        return
                except VicoClientError as error:
                    self.cancellation.pause(journey.pause_after(error))

    def _answers(self, open_call: OpenCall, address: str, message: bytes, seconds: float) -> Iterator[StreamEvent]:
        call: Any = None
        try:
            with typed_call_errors(address, self.request_id):
                call = open_call(address, message, seconds)
                self.cancellation.covers(call)
                for answer in call:
                    yield from self._reader.read(answer)
            self._reader.require_end()
        except (VicoClientError, ValueError) as error:  # ValueError: of a closed channel
            if self.cancellation.cancelled or not isinstance(error, VicoClientError):
                raise Cancelled("given up by the caller", request_id=self.request_id) from error
            raise
        finally:
            if call is not None:
                call.cancel()  # nothing happens to one that has ended
