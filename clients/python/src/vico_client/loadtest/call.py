"""One request to the server, timed, with everything that the answer says; nothing is decoded that is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tritonclient.grpc.aio import InferenceServerClient

from vico_client.connection import channel_arguments, infer_arguments, typed_errors
from vico_client.decode import NONSENSE, bytes_elements
from vico_client.errors import ServerError, VicoClientError
from vico_client.files import write_pictures
from vico_client.loadtest.plan import PlannedRequest
from vico_client.loadtest.records import Record
from vico_client.messages import GenerateRequest


class Sender:
    """Sends planned requests over one connection; belongs to the event loop that made it.

    clock: seconds from the start of the test. timeout: seconds, for requests without a deadline.
    pictures: folder for the answers of checked requests.
    """

    def __init__(self, address: str, run_id: str, timeout: float, pictures: Path, clock: Callable[[], float]) -> None:
        self._address = address
        self._run_id = run_id
        self._timeout = timeout
        self._pictures = pictures
        self._clock = clock
        self._rpc = InferenceServerClient(**channel_arguments(address, None))

    async def send(self, planned: PlannedRequest, due: float, user: int | None = None) -> Record:
        """Send a request that was due at `due`; whatever happens to it becomes its record."""
        request = GenerateRequest(**planned.fields, request_id=f"{self._run_id}-{planned.number}")
        outcome: dict[str, Any] = {}
        sent = self._clock()
        try:
            arguments = infer_arguments(request, planned.deadline or self._timeout)
            sent = self._clock()
            with typed_errors(self._address, request.request_id):
                answer = await self._rpc.infer(**arguments)
            done = self._clock()
            files, info = _read(answer.get_response(), request)
            outcome = {"images": len(files), "size": sum(map(len, files)), "info": info}
            if planned.checked:
                self._keep(planned.number, files)
        except (VicoClientError, OSError) as error:
            done = self._clock()
            status = getattr(error, "status", None) or "CLIENT"
            outcome = {"error": type(error).__name__, "status": status, "message": str(error)}
        return Record(
            number=planned.number,
            request_id=request.request_id,
            user=user,
            scheduled=due,
            sent=sent,
            done=done,
            request=planned.fields,
            deadline=planned.deadline,
            warmup=planned.warmup,
            checked=planned.checked,
            cold=planned.cold,
            **outcome,
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._rpc.close()

    def _keep(self, number: int, files: list[memoryview]) -> None:
        write_pictures(files, [self._pictures / picture_name(number, index) for index in range(len(files))])


def picture_name(number: int, index: int) -> str:
    """The file of picture `index` of request `number`."""
    return f"{number}-{index}"


def _read(response: Any, request: GenerateRequest) -> tuple[list[memoryview], dict[str, Any]]:
    """(encoded pictures, the server's info), checked as far as that needs no decoding."""
    try:
        (text,) = bytes_elements(response, "info")
        info = json.loads(bytes(text))
        files = bytes_elements(response, "images")
        if not isinstance(info, dict) or len(files) != (request.num_images or 1):
            raise ValueError(f"{len(files)} images for the {request.num_images or 1} asked for")
    except NONSENSE as error:
        raise ServerError(f"malformed answer: {error}", request_id=request.request_id) from error
    return files, info
