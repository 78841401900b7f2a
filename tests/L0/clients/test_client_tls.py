"""TLS, mutual TLS, and every way in which certificates are wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from fake_vico_server import FakeServer, running
from vico_client import TLS, AsyncClient, Client, InvalidRequest, Retry, Unavailable, UntrustedServer


@dataclass(frozen=True)
class Certificates:
    """PEM files of one authority."""

    authority: Path
    key: Path
    chain: Path


def _certificates(folder: Path, host: str = "localhost") -> Certificates:
    folder.mkdir()
    authority = trustme.CA()
    leaf = authority.issue_cert(host)
    made = Certificates(folder / "authority.pem", folder / "key.pem", folder / "chain.pem")
    authority.cert_pem.write_to_path(str(made.authority))
    leaf.private_key_pem.write_to_path(str(made.key))
    leaf.cert_chain_pems[0].write_to_path(str(made.chain))
    return made


def _serving(made: Certificates, client_authority: Path | None = None) -> grpc.ServerCredentials:
    pair = (made.key.read_bytes(), made.chain.read_bytes())
    roots = client_authority.read_bytes() if client_authority else None
    return grpc.ssl_server_credentials([pair], roots, client_authority is not None)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return _certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return _certificates(tmp_path_factory.mktemp("tls") / "foreign")


@pytest.fixture
def secure(ours: Certificates) -> Iterator[FakeServer]:
    with running(_serving(ours)) as (fake, _):
        yield fake


def test_a_trusted_server_answers_both_clients(secure: FakeServer, ours: Certificates) -> None:
    tls = TLS(root_certificates=str(ours.authority))
    with Client(secure.address, tls=tls) as client:
        assert client.ready()
        assert len(client.generate("a toy")) == 1

    async def main() -> int:
        async with AsyncClient(secure.address, tls=tls) as client:
            return len(await client.generate("a toy"))

    assert asyncio.run(main()) == 1


def test_mutual_tls(ours: Certificates, foreign: Certificates) -> None:
    with running(_serving(ours, client_authority=foreign.authority)) as (fake, _):
        with Client(fake.address, tls=TLS(ours.authority, foreign.key, foreign.chain)) as client:
            assert len(client.generate("a toy")) == 1
        for stranger in (TLS(ours.authority), TLS(ours.authority, ours.key, ours.chain)):
            with (
                Client(fake.address, tls=stranger, retry=Retry(attempts=1)) as client,
                pytest.raises(Unavailable),
            ):
                client.generate("a toy")
        assert len(fake.calls) == 1


@pytest.mark.parametrize("wrong", ["foreign authority", "the shipped authorities", "another host"])
def test_a_wrong_certificate_is_untrusted_and_not_asked_again(
    ours: Certificates, foreign: Certificates, tmp_path: Path, wrong: str
) -> None:
    elsewhere = _certificates(tmp_path / "elsewhere", "elsewhere.example")
    tls = {
        "foreign authority": TLS(foreign.authority),
        "the shipped authorities": TLS(),
        "another host": TLS(elsewhere.authority),
    }[wrong]
    served = elsewhere if wrong == "another host" else ours
    with running(_serving(served)) as (fake, _):
        begun = time.monotonic()
        patient = Retry(attempts=None, first_pause=50, longest_pause=50)
        with Client(fake.address, tls=tls, retry=patient) as client, pytest.raises(UntrustedServer) as caught:
            client.generate("a toy", request_id="r1")
        assert time.monotonic() - begun < 45
        assert (caught.value.status, caught.value.request_id) == ("UNAVAILABLE", "r1")
        assert "authority" in str(caught.value.hint)

        async def main() -> None:
            async with AsyncClient(fake.address, tls=tls, retry=patient) as client:
                with pytest.raises(UntrustedServer):
                    await client.generate("a toy")

        asyncio.run(main())
        assert not fake.calls


def test_plain_text_to_a_tls_port_is_unavailable(secure: FakeServer) -> None:
    with Client(secure.address, retry=Retry(attempts=1)) as client, pytest.raises(Unavailable):
        client.generate("a toy")


@pytest.mark.parametrize(
    ("tls", "named"),
    [
        (TLS(root_certificates="/no/such.pem"), r"root_certificates: no file at '/no/such\.pem'"),
        (TLS(private_key="/no/such.pem"), "certificate_chain: absent"),
        (TLS(certificate_chain="/no/such.pem"), "private_key: absent"),
        (TLS(private_key="/no/key.pem", certificate_chain="/no/such.pem"), "private_key: no file"),
    ],
)
def test_files_that_are_not_there_are_named_before_anything_is_sent(tls: TLS, named: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidRequest, match=named):
            kind("localhost:8001", tls=tls)
