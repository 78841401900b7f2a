"""A server with keys and mutual TLS: who gets in, and which concepts are there for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme
from served import Served, start_server
from ways import OWN_CONNECTION, TO_PICTURES, TO_THE_LIST, Outcome, Way, outcome_on

from serving.admin.concepts import ConceptAdmin
from serving.concepts.folder import FolderSource
from serving.front.keys import Key, hashed, read_keys, write_keys
from vico.concept import read_package

if TYPE_CHECKING:
    from conftest import Exported


UNARY = Way("vico")


@dataclass
class Guarded:
    """The server, and what a client needs to get in."""

    served: Served
    folder: Path

    def on(self, way: Way, shown: str | None, tls: dict[str, str | None] | None = None, **fields: Any) -> Outcome:
        """Call with a key, and with these files of TLS."""
        files = {"root_certificates": "ca.pem", "private_key": "client.key", "certificate_chain": "client.pem"}
        read = {name: (self.folder / file).read_bytes() for name, file in (files | (tls or {})).items() if file}
        address = self.served.address.replace("127.0.0.1", "localhost")
        metadata = [("authorization", f"Bearer {shown}")] if shown else []
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(**read), options=OWN_CONNECTION) as channel:
            return outcome_on(way, channel, metadata, **fields)

    def ask(self, shown: str | None, concept: str = "", way: Way = UNARY, **tls: str | None) -> str:
        """ "OK", or status and words."""
        asked = self.on(way, shown, tls, prompt="a *" if concept else "a", concept=concept, steps=1)
        return f"{asked.status} {asked.words}".strip()

    def listed(self, shown: str, way: Way, pattern: str = "*") -> set[str]:
        return set(self.on(way, shown, pattern=pattern).concepts())

    def digest(self, concept: str) -> str:
        return read_package(self.folder / "registry" / f"{concept}.safetensors").digest


@pytest.fixture(scope="module")
def guarded(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "registry").mkdir()
    for seed, concept in enumerate(("acme-hen", "other-cow")):
        exported.make_concept(folder / "registry", concept, seed=seed)
    ConceptAdmin(FolderSource(folder / "registry")).alias("other-prod", "other-cow")
    authority, clients = trustme.CA(), trustme.CA()
    issued, own = authority.issue_cert("localhost"), clients.issue_cert("client@example.org")
    for name, content in {
        "ca.pem": authority.cert_pem, "clients.pem": clients.cert_pem, "server.pem": issued.cert_chain_pems[0],
        "server.key": issued.private_key_pem, "client.pem": own.cert_chain_pems[0], "client.key": own.private_key_pem,
    }.items():  # fmt: skip
        content.write_to_path(str(folder / name))
    (folder / "server.key").chmod(0o600)
    write_keys(
        folder / "keys.json",
        [
            Key(client="shop", tenant="acme", sha256=hashed("one"), concepts=("acme-*",)),
            Key(client="farm", tenant="other", sha256=hashed("other"), concepts=("other-*",)),
            Key(client="all", tenant="all", sha256=hashed("two")),
            Key(client="gone", tenant="acme", sha256=hashed("three")),
        ],
    )
    options = ["--keys", "keys.json", "--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca"]
    paths = [option if option.startswith("--") else str(folder / option) for option in options]
    served = start_server(
        exported.folder, folder / "registry", folder / "log", "--host", "0.0.0.0", *paths, str(folder / "clients.pem")
    )
    served.address = served.address.replace("0.0.0.0", "127.0.0.1")
    yield Guarded(served, folder)
    assert served.stop() == 0, served.log()


def test_only_a_key_and_a_certificate_together_get_in(guarded: Guarded) -> None:
    assert guarded.ask("one") == "OK"
    for shown in (None, "four", hashed("one"), "one two"):
        assert guarded.ask(shown).startswith("UNAUTHENTICATED authorization: no valid API key")
    assert guarded.ask("one", private_key=None, certificate_chain=None).startswith("UNAVAILABLE")
    assert guarded.ask("one", root_certificates="clients.pem").startswith("UNAVAILABLE")


@pytest.mark.parametrize("way", TO_PICTURES, ids=str)
def test_another_tenants_concept_is_as_if_absent(guarded: Guarded, way: Way) -> None:
    cow = f"@{guarded.digest('other-cow')}"
    assert guarded.ask("one", "acme-hen", way) == "OK"
    for name in ("other-cow", f"other-cow{cow}", "other-prod", f"other-prod{cow}"):
        assert guarded.ask("other", name, way) == guarded.ask("two", name, way) == "OK", "it is there, and loaded"
        absent = name.replace("cow", "bat").replace("prod", "none")
        hidden = guarded.ask("one", name, way)
        assert hidden == guarded.ask("one", absent, way).replace(absent.partition("@")[0], name.partition("@")[0])
        assert hidden.startswith("NOT_FOUND concept: no concept")
    assert guarded.ask("one", f"other-cow@{'0' * 64}", way).startswith("NOT_FOUND concept: no concept")
    assert guarded.ask("other", "acme-hen", way).startswith("NOT_FOUND concept: no concept")


@pytest.mark.parametrize("way", TO_PICTURES, ids=str)
def test_anothers_digest_is_no_version_of_ones_own(guarded: Guarded, way: Way) -> None:
    assert guarded.ask("two", "other-cow", way) == "OK"
    answer = guarded.ask("one", f"acme-hen@{guarded.digest('other-cow')}", way)
    assert answer.startswith("NOT_FOUND concept: 'acme-hen' has no such version")


@pytest.mark.parametrize("way", TO_THE_LIST, ids=str)
def test_each_tenant_lists_its_own(guarded: Guarded, way: Way) -> None:
    assert guarded.listed("one", way) == guarded.listed("one", way, "*-*") == {"acme-hen"}
    assert guarded.listed("other", way) == {"other-cow", "other-prod"}
    assert guarded.listed("two", way) == {"acme-hen", "other-cow", "other-prod"}
    for pattern in ("other-*", "other-cow", "other-prod", "?ther*"):
        assert guarded.listed("one", way, pattern) == set()
    assert guarded.on(way, None, pattern="*").status == "UNAUTHENTICATED"


def test_a_revoked_key_is_refused_at_the_next_call(guarded: Guarded) -> None:
    assert guarded.ask("three") == "OK"
    file = guarded.folder / "keys.json"
    write_keys(file, [key for key in read_keys(file) if key.client != "gone"])
    assert guarded.ask("three").startswith("UNAUTHENTICATED")
    assert guarded.ask("one") == "OK"
