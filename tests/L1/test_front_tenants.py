"""A server with keys and mutual TLS: who gets in, and which concepts are there for whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import trustme
from served import Served, start_server
from tritonclient.utils import InferenceServerException

from serving.front.keys import Key, hashed, read_keys, write_keys

if TYPE_CHECKING:
    from conftest import Exported


@dataclass
class Guarded:
    """The server, and what a client needs to get in."""

    served: Served
    folder: Path

    def ask(self, shown: str | None, concept: str = "", **tls: str | None) -> str:
        """ "OK", or status and words."""
        files = {"root_certificates": "ca.pem", "private_key": "client.key", "certificate_chain": "client.pem"} | tls
        paths = {name: str(self.folder / file) for name, file in files.items() if file}
        address = self.served.address.replace("127.0.0.1", "localhost")
        client = triton.InferenceServerClient(address, ssl=True, **paths)
        headers = {"authorization": f"Bearer {shown}"} if shown else None
        values: dict[str, Any] = {"prompt": b"a *" if concept else b"a", "concept": concept.encode()}
        inputs = [triton.InferInput(name, [1], "BYTES") for name in values] + [triton.InferInput("steps", [1], "INT32")]
        for tensor, value in zip(inputs, values.values(), strict=False):
            tensor.set_data_from_numpy(np.array([value], object))
        inputs[-1].set_data_from_numpy(np.array([1], np.int32))
        try:
            client.infer("vico", inputs, headers=headers, client_timeout=120)
        except InferenceServerException as error:
            return f"{str(error.status()).removeprefix('StatusCode.')} {error.message()}"
        finally:
            client.close()
        return "OK"


@pytest.fixture(scope="module")
def guarded(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "registry").mkdir()
    for concept in ("acme-hen", "other-cow"):
        exported.make_concept(folder / "registry", concept)
    authority, clients = trustme.CA(), trustme.CA()
    issued, own = authority.issue_cert("localhost"), clients.issue_cert("client@example.org")
    for name, content in {
        "ca.pem": authority.cert_pem, "clients.pem": clients.cert_pem, "server.pem": issued.cert_chain_pems[0],
        "server.key": issued.private_key_pem, "client.pem": own.cert_chain_pems[0], "client.key": own.private_key_pem,
    }.items():  # fmt: skip
        content.write_to_path(str(folder / name))
    write_keys(
        folder / "keys.json",
        [
            Key(client="shop", tenant="acme", sha256=hashed("one"), concepts=("acme-*",)),
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


@pytest.mark.parametrize("version", ["", "@" + "0" * 64])
def test_another_tenants_concept_is_as_if_absent(guarded: Guarded, version: str) -> None:
    assert guarded.ask("one", "acme-hen") == "OK"
    assert guarded.ask("two", "other-cow") == "OK"
    hidden, absent = (guarded.ask("one", concept + version) for concept in ("other-cow", "other-bat"))
    assert hidden.replace("other-cow", "X") == absent.replace("other-bat", "X")
    assert hidden.startswith("NOT_FOUND concept: no concept")


def test_a_revoked_key_is_refused_at_the_next_call(guarded: Guarded) -> None:
    assert guarded.ask("three") == "OK"
    file = guarded.folder / "keys.json"
    write_keys(file, [key for key in read_keys(file) if key.client != "gone"])
    assert guarded.ask("three").startswith("UNAUTHENTICATED")
    assert guarded.ask("one") == "OK"
