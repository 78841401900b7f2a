"""The asyncio stream: `PictureStream` word for word, with `async`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vico_client.channel import typed_call_errors
from vico_client.encode import tensors
from vico_client.errors import Cancelled, VicoClientError
from vico_client.journey import Journey
from vico_client.messages import GenerateInfo
from vico_client.remarks import warn_user
from vico_client.stream_messages import StreamEvent, StreamRequest
from vico_client.stream_reader import OUTPUTS, StreamReader
from vico_client.wire import STREAM_MODEL, request_message

if TYPE_CHECKING:
    from typing_extensions import Self

OpenCall = Callable[[str, bytes, float], Any]  # address, message, seconds → a grpc.aio call that iterates over answers


class AsyncPictureStream(AsyncIterator[StreamEvent]):
    """What `AsyncClient.stream` returns: iterate over it, once. Leaving it, or `cancel()`, frees the server's lanes.

    If its server is lost it begins anew, at another one if there is one, until the timeout: progress may fall back
    then, and no picture comes twice.
    """

    def __init__(self, request: StreamRequest, journey: Journey, open_call: OpenCall) -> None:
        self.request_id = request.request_id
        self._cancelled = False
        self._call: Any = None
        self._reader = StreamReader(request)
        self._events = self._read(request, journey, open_call)

    @property
    def info(self) -> GenerateInfo | None:
        """What the server did; None until the stream has ended."""
        return self._reader.info

    async def __anext__(self) -> StreamEvent:
        """The next event; raises what `AsyncClient.generate` would, and Cancelled after `cancel()`."""
        try:
            return await self._events.__anext__()
        except StopAsyncIteration:
            if self.info is not None:
                warn_user(self.info, stacklevel=2)
            raise

    def cancel(self) -> None:
        """Give the request up; from the event loop's thread."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    async def close(self) -> None:
        """Give the request up, if it is not over."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(
        self, request: StreamRequest, journey: Journey, open_call: OpenCall
    ) -> AsyncGenerator[StreamEvent, None]:
        inputs = await asyncio.to_thread(tensors, request)
        while True:
            try:
                with journey.visit() as address:
                    left = journey.seconds_left
                    message = request_message(inputs, request.request_id, left, STREAM_MODEL, OUTPUTS)
                    answers = self._answers(open_call, address, message, left)
                    try:
                        async for event in answers:
                            yield event
                    finally:
                        await answers.aclose()
                    return
            except VicoClientError as error:
                await asyncio.sleep(journey.pause_after(error))

    async def _answers(
        self, open_call: OpenCall, address: str, message: bytes, seconds: float
    ) -> AsyncGenerator[StreamEvent, None]:
        try:
            self._require_wanted()
            with typed_call_errors(address, self.request_id):
                self._call = open_call(address, message, seconds)
                async for answer in self._call:
                    for event in await asyncio.to_thread(self._reader.read, answer):
                        yield event
            self._reader.require_end()
        except (VicoClientError, asyncio.CancelledError):
            # grpc.aio ends a call that we cancelled as if our task had been
            self._require_wanted()
            raise
        finally:
            if self._call is not None:
                self._call.cancel()  # nothing happens to one that has ended

    def _require_wanted(self) -> None:
        if self._cancelled:
            raise Cancelled("given up by the caller", request_id=self.request_id)
