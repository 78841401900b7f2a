"""Which failures are tried again, how long that waits, and that the request stays the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from fake_vico_server import Call, FakeServer, Refusal, pictures
from hypothesis import given
from hypothesis import strategies as st
from vico_client import (
    AsyncClient,
    Client,
    ConceptNotFound,
    DeadlineExceeded,
    GenerateRequest,
    InvalidRequest,
    Overloaded,
    Retry,
    ServerError,
    Unavailable,
    UntrustedServer,
    VicoClientError,
)
from vico_client.journey import Journey
from vico_client.retry import is_retryable
from vico_client.servers import Servers
from vico_client.status import error_from_status

QUICK = Retry(first_pause=0.01, longest_pause=0.02)
STARTING = "request: the server is starting, or mending itself; accepted: the same request later"
FETCHED = "concept: is being fetched; accepted: the same request in a moment"
NO_ROOM = "num_images: 4 pictures, and the queue has room for 2; accepted: at most 2, or the same request later"
RATE = "request: too many in the last minute; accepted: 60 a minute; the next one in 0.4 s"


def _fails_at_first(times: int, status: grpc.StatusCode, details: str) -> Callable[[Call], Any]:
    left = [None] * times

    def answer(call: Call) -> Any:
        if left:
            left.pop()
            raise Refusal(status, details)
        return pictures(call)

    return answer


@pytest.mark.parametrize(
    ("status", "details"),
    [
        ("UNAVAILABLE", STARTING),
        ("UNAVAILABLE", FETCHED),
        ("UNAVAILABLE", f"{NO_ROOM} [RESOURCE_EXHAUSTED]"),
        ("RESOURCE_EXHAUSTED", NO_ROOM),
        ("RESOURCE_EXHAUSTED", RATE),
        ("CANCELLED", "the server went away"),
    ],
)
def test_the_same_request_is_sent_until_it_succeeds(server: FakeServer, status: str, details: str) -> None:
    server.answer = _fails_at_first(3, grpc.StatusCode[status], details)
    with Client(server.address, timeout=60, retry=QUICK) as client:
        result = client.generate_result("a photo of *", concept="my-toy", reference_image=b"photo")
    assert len(server.calls) == 4
    assert len({call.request_id for call in server.calls}) == 1
    assert all(call.fields == server.calls[0].fields for call in server.calls)
    assert result.info.seed == server.calls[0].fields["seed"]
    left = [call.timeout_microseconds for call in server.calls]
    assert left == sorted(left, reverse=True)  # each is told only what is left of the deadline
    assert left[0] > left[-1]


def test_the_asyncio_client_tries_again_too(server: FakeServer) -> None:
    server.answer = _fails_at_first(2, grpc.StatusCode.UNAVAILABLE, STARTING)

    async def main() -> None:
        async with AsyncClient(server.address, retry=QUICK) as client:
            assert len(await client.generate("a toy", request_id="r8")) == 1

    asyncio.run(main())
    assert [call.request_id for call in server.calls] == ["r8"] * 3


@pytest.mark.parametrize(
    ("status", "details", "kind"),
    [
        ("INVALID_ARGUMENT", "steps: 0; accepted: 1 to 100", InvalidRequest),
        ("NOT_FOUND", "concept: gone; accepted: another one later", ConceptNotFound),
        ("INTERNAL", "request: failed; accepted: report r1", ServerError),
        ("RESOURCE_EXHAUSTED", "num_images: 8 pictures; accepted: fewer", Overloaded),
        ("DEADLINE_EXCEEDED", "timeout: too short; accepted: later", DeadlineExceeded),
        ("UNIMPLEMENTED", "Method not found!", Unavailable),
    ],
)
def test_what_will_not_get_better_is_sent_once(
    server: FakeServer, status: str, details: str, kind: type[VicoClientError]
) -> None:
    server.refuse(grpc.StatusCode[status], details)
    with Client(server.address, retry=QUICK) as client, pytest.raises(kind):
        client.generate("a toy")
    assert len(server.calls) == 1


def test_attempts_are_counted_and_the_last_error_is_told(server: FakeServer) -> None:
    server.refuse(grpc.StatusCode.UNAVAILABLE, STARTING)
    with Client(server.address, retry=Retry(3, 0.01, 0.02)) as client, pytest.raises(Unavailable, match="starting"):
        client.generate("a toy")
    assert len(server.calls) == 3


def test_no_attempt_outlives_the_deadline(server: FakeServer) -> None:
    server.refuse(grpc.StatusCode.UNAVAILABLE, STARTING)
    with Client(server.address, retry=Retry(None, 0.05, 0.05)) as client:
        with pytest.raises((Unavailable, DeadlineExceeded)):
            client.generate("a toy", timeout=0.5)
        sent = len(server.calls)
        assert sent > 1
        with pytest.raises(Unavailable, match="starting"):
            Client(server.address, retry=Retry(None, 3600, 3600)).generate("a toy", timeout=30)
    assert len(server.calls) == sent + 1  # a pause longer than what is left is not begun


def test_a_closed_client_does_not_wait_for_its_next_attempt(server: FakeServer) -> None:
    server.refuse(grpc.StatusCode.UNAVAILABLE, STARTING)
    client = Client(server.address, retry=Retry(None, 3600, 3600), timeout=7200)
    pending = client.submit("a toy")
    assert server.entered.wait(30)
    closing = threading.Thread(target=client.close)
    closing.start()
    assert type(pending.exception(30)).__name__ == "Cancelled"
    closing.join(30)


def test_untrusted_is_not_tried_again() -> None:
    assert not is_retryable(UntrustedServer("no", status="UNAVAILABLE"))
    assert not is_retryable(Unavailable("no such model", status="NOT_FOUND"))
    assert is_retryable(Unavailable("gone", status="UNAVAILABLE"))


@given(attempts=st.integers(1, 10**6), chance=st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_a_bound_and_keep_half(attempts: int, chance: float) -> None:
    retry, error = Retry(None, 0.25, 8), Unavailable("gone", status="UNAVAILABLE")
    whole = min(8.0, 0.25 * 2.0 ** min(attempts - 1, 10))
    assert whole / 2 <= retry.pause(attempts, error, chance) <= whole
    assert retry.pause(attempts + 1, error, chance) >= retry.pause(attempts, error, chance)


def test_a_server_that_says_when_is_believed() -> None:
    error = error_from_status("RESOURCE_EXHAUSTED", RATE)
    assert Retry(first_pause=0.01, longest_pause=0.01).pause(1, error, 0.0) == pytest.approx(0.4)


@pytest.mark.parametrize(("attempts", "first"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, -1.0), (1, 9.0)])
def test_retries_make_sense(attempts: int, first: float) -> None:
    with pytest.raises(InvalidRequest):
        Retry(attempts, first, 8.0)


@given(seconds=st.floats(0.1, 100), pauses=st.integers(1, 20), chance=st.floats(0, 1, exclude_max=True))
def test_a_journey_ends_with_its_deadline_whatever_happens(seconds: float, pauses: int, chance: float) -> None:
    now = [0.0]
    journey = Journey(
        Servers(["a", "b", "c"], lambda: now[0]), Retry(None, 0.1, 5), "key", seconds, lambda: now[0], lambda: chance
    )
    gone = Unavailable("gone", status="UNAVAILABLE")
    for _ in range(10_000):
        assert journey.seconds_left > 0
        try:
            with journey.visit():
                raise gone
        except Unavailable as error:
            try:
                now[0] += journey.pause_after(error)
            except Unavailable:
                break
        assert now[0] < seconds
    else:
        pytest.fail("it never ends")


def test_a_request_can_be_repeated_by_hand(server: FakeServer) -> None:
    request = GenerateRequest("a toy")
    with Client(server.address) as client:
        client.send(request)
        client.send(request)
    first, second = server.calls
    assert (first.fields, first.request_id) == (second.fields, second.request_id)
