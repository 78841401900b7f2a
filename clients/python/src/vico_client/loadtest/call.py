"""One request to the server, timed, with everything that the answer says; nothing is decoded that is not needed.

No retries: what is measured is the server, not the patience of its clients.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio

from vico_client.channel import open_channel, typed_call_errors
from vico_client.encode import tensors
from vico_client.errors import VicoClientError
from vico_client.files import write_pictures
from vico_client.loadtest.answer import Received, WatchedAnswer, WholeAnswer
from vico_client.loadtest.plan import PlannedRequest
from vico_client.loadtest.records import Record
from vico_client.loadtest.route import Route
from vico_client.messages import GenerateRequest
from vico_client.stream_reader import OUTPUTS as STREAM_OUTPUTS
from vico_client.wire import INFER, STREAM_INFER, STREAM_MODEL, request_message


class Sender:
    """Sends planned requests, over one connection for each tenant; belongs to the event loop that made it.

    clock: seconds from the start of the test. pictures: folder for the answers of checked requests.
    """

    def __init__(self, route: Route, run_id: str, pictures: Path, clock: Callable[[], float]) -> None:
        self._route = route
        self._run_id = run_id
        self._pictures = pictures
        self._clock = clock
        self._channels = [open_channel(grpc.aio, route.address, settings) for settings in route.settings]

    async def send(self, planned: PlannedRequest, due: float, user: int | None = None) -> Record:
        """Send a request that was due at `due`; whatever happens to it becomes its record."""
        request = GenerateRequest(**planned.fields, request_id=f"{self._run_id}-{planned.number}")
        turn = self._route.turn(planned.number, user)
        outcome: dict[str, Any] = {}
        sent = self._clock()
        try:
            ask = self._watch if self._route.stream else self._ask
            received = await ask(request, turn, planned.deadline or self._route.timeout)
            outcome = received.outcome()
            if planned.checked:
                self._keep(planned.number, received.files)
        except (VicoClientError, OSError) as error:
            status = getattr(error, "status", None) or "CLIENT"
            outcome = {"error": type(error).__name__, "status": status, "message": str(error), "done": self._clock()}
        return Record(
            number=planned.number,
            request_id=request.request_id,
            user=user,
            tenant=self._route.names[turn],
            scheduled=due,
            sent=sent,
            request=planned.fields,
            deadline=planned.deadline,
            warmup=planned.warmup,
            checked=planned.checked,
            cold=planned.cold,
            **outcome,
        )

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()

    async def _ask(self, request: GenerateRequest, turn: int, seconds: float) -> Received:
        answer = WholeAnswer(request, self._clock)
        message = request_message(tensors(request), request.request_id, seconds)
        with typed_call_errors(self._route.address, request.request_id):
            call = self._channels[turn].unary_unary(INFER)
            answer.read(await call(message, timeout=seconds, metadata=self._route.settings[turn].metadata))
        return answer.received

    async def _watch(self, request: GenerateRequest, turn: int, seconds: float) -> Received:
        answer = WatchedAnswer(request, self._clock)
        message = request_message(tensors(request), request.request_id, seconds, STREAM_MODEL, STREAM_OUTPUTS)
        with typed_call_errors(self._route.address, request.request_id):
            open_call = self._channels[turn].stream_stream(STREAM_INFER)
            call = open_call(_once(message), timeout=seconds, metadata=self._route.settings[turn].metadata)
            async for part in call:
                answer.read(part)
        return answer.end()

    def _keep(self, number: int, files: list[memoryview]) -> None:
        write_pictures(files, [self._pictures / picture_name(number, index) for index in range(len(files))])


def picture_name(number: int, index: int) -> str:
    """The file of picture `index` of request `number`."""
    return f"{number}-{index}"


async def _once(message: bytes) -> Any:
    yield message
