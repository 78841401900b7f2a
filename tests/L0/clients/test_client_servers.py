"""Several servers: who gets which concept, what happens when one is gone, and when it comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack

import grpc
import pytest
from fake_vico_server import FakeServer, running
from hypothesis import given
from hypothesis import strategies as st
from vico_client import AsyncClient, Client, DeadlineExceeded, InvalidRequest, Retry, ServerError, Unavailable
from vico_client.journey import affinity
from vico_client.messages import GenerateRequest
from vico_client.servers import BUSY, FAILURES, FIRST_EJECTION, LONGEST_EJECTION, Servers

GONE = Unavailable("gone", status="UNAVAILABLE")
NAMES = ["a:1", "b:1", "c:1", "d:1"]
_names = st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True)


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _visit(servers: Servers, address: str, error: Exception | None = None) -> None:
    servers.begin(address)
    servers.end(address, error)  # type: ignore[arg-type]


@given(names=_names, key=st.text())
def test_a_ranking_holds_every_server_once_in_any_order_of_addresses(names: list[str], key: str) -> None:
    ranking = Servers(names).ranked(key)
    assert sorted(ranking) == sorted(names)
    assert ranking == Servers(names[::-1]).ranked(key)


@given(names=_names, keys=st.lists(st.text(), max_size=20))
def test_when_a_server_comes_only_its_own_concepts_move(names: list[str], keys: list[str]) -> None:
    fewer = Servers(names[1:]) if len(names) > 1 else None
    for key in keys:
        first, *others = Servers(names).ranked(key)
        if fewer and first != names[0]:
            assert fewer.ranked(key)[0] == first
        elif fewer:
            assert fewer.ranked(key) == others


def test_concepts_are_spread() -> None:
    counts = Counter(Servers(NAMES).ranked(f"concept {number}")[0] for number in range(4000))
    assert set(counts) == set(NAMES)
    assert min(counts.values()) > 850


def test_versions_of_a_concept_meet_and_plain_requests_spread() -> None:
    assert affinity(GenerateRequest("*", concept="toy")) == affinity(GenerateRequest("*", concept="toy@" + "a" * 64))
    assert affinity(GenerateRequest("*", concept="toy")) != affinity(GenerateRequest("*", concept="toys"))
    assert affinity(GenerateRequest("a")) != affinity(GenerateRequest("a"))


def test_a_server_that_is_gone_is_passed_over_and_tried_by_one_request_at_a_time() -> None:
    clock = _Clock()
    servers = Servers(NAMES, clock)
    best, second, *_ = servers.ranked("key")
    _visit(servers, best, GONE)
    assert servers.ranked("key")[0] == second
    clock.now = FIRST_EJECTION
    assert servers.ranked("key")[0] == best
    servers.begin(best)  # finds out whether it is back
    assert servers.ranked("key")[0] == second
    servers.end(best, GONE)
    clock.now += FIRST_EJECTION
    assert servers.ranked("key")[0] == second  # twice as long now
    clock.now += FIRST_EJECTION
    servers.begin(best)
    servers.end(best, None)
    assert servers.ranked("key")[0] == best


def test_an_ejection_has_a_bound() -> None:
    clock = _Clock()
    servers = Servers(NAMES, clock)
    best = servers.ranked("key")[0]
    for _ in range(2000):
        _visit(servers, best, GONE)
    clock.now = LONGEST_EJECTION
    assert servers.ranked("key")[0] == best


@pytest.mark.parametrize("fault", [ServerError("broken"), DeadlineExceeded("slow")])
def test_an_outlier_is_passed_over_after_several_faults_in_a_row(fault: Exception) -> None:
    servers = Servers(NAMES, _Clock())
    best = servers.ranked("key")[0]
    for _ in range(FAILURES - 1):
        _visit(servers, best, fault)
    _visit(servers, best, None)
    for _ in range(FAILURES - 1):
        _visit(servers, best, fault)
    assert servers.ranked("key")[0] == best
    _visit(servers, best, fault)
    assert servers.ranked("key")[0] != best


@pytest.mark.parametrize("refusal", [InvalidRequest("0", field="steps"), Unavailable("fetched", field="concept")])
def test_a_refused_request_says_nothing_against_the_server(refusal: Exception) -> None:
    servers = Servers(NAMES, _Clock())
    best = servers.ranked("key")[0]
    for _ in range(10):
        _visit(servers, best, refusal)
    assert servers.ranked("key")[0] == best


def test_when_all_are_gone_the_best_one_is_tried_all_the_same() -> None:
    servers = Servers(NAMES, _Clock())
    best = servers.ranked("key")[0]
    for name in NAMES:
        _visit(servers, name, GONE)
    assert servers.ranked("key") == [best]


def test_a_concept_that_is_too_much_for_one_server_overflows() -> None:
    servers = Servers(NAMES, _Clock())
    best, second, *_ = servers.ranked("key")
    for _ in range(BUSY):
        assert servers.ranked("key")[0] == best
        servers.begin(best)
    assert servers.ranked("key")[0] == second
    servers.abandon(best)
    assert servers.ranked("key")[0] == best


def _stopped_address() -> str:
    with running() as (fake, _):
        address: str = fake.address
    return address


def test_one_of_two_servers_gone(server: FakeServer) -> None:
    gone = _stopped_address()
    with Client([gone, server.address], retry=Retry(attempts=1)) as client:
        for number in range(12):
            client.generate("a photo of *", concept=f"toy-{number}")
        assert client.ready()
    assert len(server.calls) == 12


def test_one_of_two_servers_gone_asyncio(server: FakeServer) -> None:
    gone = _stopped_address()

    async def main() -> None:
        async with AsyncClient([gone, server.address], retry=Retry(attempts=1)) as client:
            calls = (client.generate("a photo of *", concept=f"toy-{number}") for number in range(12))
            assert len(await asyncio.gather(*calls)) == 12
            assert await client.ready()

    asyncio.run(main())
    assert len(server.calls) == 12


def test_both_servers_gone_is_unavailable() -> None:
    with (
        Client([_stopped_address(), _stopped_address()], retry=Retry(attempts=1)) as client,
        pytest.raises(Unavailable) as caught,
    ):
        client.generate("a toy")
    assert caught.value.status == "UNAVAILABLE"


def test_requests_of_a_concept_meet_on_one_server_and_concepts_spread() -> None:
    with ExitStack() as stack:
        fakes = [stack.enter_context(running())[0] for _ in range(3)]
        with Client([fake.address for fake in fakes]) as client:
            for number in range(24):
                for _ in range(2):
                    client.generate("a photo of *", concept=f"toy-{number}", steps=1)
        seen = [{call.fields["concept"] for call in fake.calls} for fake in fakes]
    assert sum(map(len, seen)) == 24
    assert all(seen)


def test_a_full_server_sends_its_request_to_the_next() -> None:
    full = "num_images: 1 pictures, and the queue has room for 0; accepted: the same request later"
    with running() as (one, _), running() as (two, _):
        one.refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, full)
        with Client([one.address, two.address], retry=Retry(attempts=1)) as client:
            for number in range(12):
                client.generate("a photo of *", concept=f"toy-{number}")
        assert len(two.calls) == 12
        assert one.calls
