"""What an application meets on a bad day, with the real server behind its front door: each with the exact exception."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from guarded import Guarded, start_guarded
from relay import Relay

from serving.request import MAX_REFERENCE_BYTES

vico_client = pytest.importorskip("vico_client", reason="the SDK is not installed: pip install clients/python")

if TYPE_CHECKING:
    from conftest import Exported

PROMPT = "a photo of a * on grass"
LONG = {"concept": "toy", "steps": 100, "num_images": 2, "seed": 7}


@pytest.fixture(scope="module")
def guarded(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server of these tests' own, which they may break."""
    guarded = start_guarded(exported, tmp_path_factory.mktemp("guarded"))
    yield guarded
    assert guarded.served.stop() == 0, guarded.served.log()


def test_with_certificate_and_key_there_are_pictures(guarded: Guarded) -> None:
    with guarded.client() as client:
        assert client.ready()
        assert len(client.generate(PROMPT, concept="toy", steps=1)) == 1


@pytest.mark.parametrize("key", ["two", ""])
def test_a_bad_key(guarded: Guarded, key: str) -> None:
    with guarded.client(api_key=key) as client, pytest.raises(vico_client.NotAllowed) as caught:
        client.generate(PROMPT, concept="toy", steps=1)
    assert type(caught.value) is vico_client.NotAllowed
    assert (caught.value.status, caught.value.field) == ("UNAUTHENTICATED", "authorization")


def test_a_wrong_certificate(guarded: Guarded, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pem"
    trustme.CA().cert_pem.write_to_path(str(foreign))
    with guarded.client(tls=vico_client.TLS(foreign)) as client, pytest.raises(vico_client.UntrustedServer):
        client.generate(PROMPT, concept="toy", steps=1)


@pytest.mark.parametrize(
    ("size", "field"), [(MAX_REFERENCE_BYTES + 1, "reference_image"), (2 * MAX_REFERENCE_BYTES, "request")]
)
def test_an_oversized_image(guarded: Guarded, size: int, field: str) -> None:
    with guarded.client() as client:
        with pytest.raises(vico_client.InvalidRequest, match="bytes") as caught:
            client.generate(PROMPT, concept="toy", reference_image=bytes(size))
        assert (type(caught.value), caught.value.field) == (vico_client.InvalidRequest, field)
        assert caught.value.hint is not None
        assert len(client.generate(PROMPT, concept="toy", steps=1)) == 1


def test_one_of_two_servers_gone(guarded: Guarded) -> None:
    with guarded.client(address=["localhost:1", guarded.address], retry=vico_client.Retry(attempts=1)) as client:
        assert len({client.generate_result("a dog", steps=1).info.seed for _ in range(6)}) == 6


def test_a_slow_server(guarded: Guarded) -> None:
    # slow on its way: one that stands still itself is killed by its supervisor within a second or two
    with closing(Relay(guarded.address)) as relay, guarded.client(address=relay.address) as client:
        client.generate(PROMPT, concept="toy", steps=1)
        relay.hold()
        with pytest.raises(vico_client.DeadlineExceeded) as caught:
            client.generate(PROMPT, concept="toy", steps=1, timeout=1)
    assert type(caught.value) is vico_client.DeadlineExceeded


def test_a_cancelled_request_frees_the_server(guarded: Guarded) -> None:
    with guarded.client() as client:
        client.generate(PROMPT, concept="toy", steps=1)
        pending = client.submit(PROMPT, **LONG)
        time.sleep(0.2)  # on its way; wherever it is, it can be cancelled
        assert pending.cancel()
        with pytest.raises(vico_client.Cancelled):
            pending.result(60)
        assert len(client.generate(PROMPT, concept="toy", steps=1)) == 1


def test_a_server_restarted_mid_request_answers_the_same_request(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vico_client.journey import Journey

    failures: list[Any] = []
    pause_after = Journey.pause_after

    def noted(journey: Any, error: Any) -> float:
        failures.append(error)
        return pause_after(journey, error)

    monkeypatch.setattr(Journey, "pause_after", noted)
    patient = vico_client.Retry(attempts=None, longest_pause=1.0)
    with guarded.client(retry=patient, timeout=400) as client:
        expected = client.generate_result(PROMPT, concept="toy", steps=3, seed=7)
        pending = [client.submit(PROMPT, **LONG) for _ in range(2)]
        again = client.submit(PROMPT, concept="toy", steps=3, seed=7)
        time.sleep(0.3)
        os.kill(guarded.served.triton(), signal.SIGKILL)
        assert again.result(400).images[0].tobytes() == expected.images[0].tobytes()
        assert all(len(done.result(400).images) == 2 for done in pending)
    assert failures
    assert {type(error) for error in failures} <= {vico_client.Unavailable, vico_client.Overloaded}
