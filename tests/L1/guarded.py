"""A server with TLS and an API key, as `vico serve` starts it, and clients that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
from served import Served, start_server

from serving.front.keys import Key, hashed, write_keys

if TYPE_CHECKING:
    from conftest import Exported

API_KEY = "vico_one"


@dataclass
class Guarded:
    """The server, and what a client needs to get in."""

    served: Served
    authority: Path

    @property
    def address(self) -> str:
        """By the name in its certificate."""
        return self.served.address.replace("127.0.0.1", "localhost")

    def client(self, **changes: Any) -> Any:
        """A client that this server knows, but for `changes`."""
        import vico_client

        access: dict[str, Any] = {"tls": vico_client.TLS(self.authority), "api_key": API_KEY, "timeout": 120}
        return vico_client.Client(**access | {"address": self.address} | changes)


def start_guarded(exported: Exported, folder: Path) -> Guarded:
    """A server of its own, with the concept `toy`; stop it with `.served.stop()`."""
    (folder / "registry").mkdir()
    exported.make_concept(folder / "registry", "toy")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    issued.private_key_pem.write_to_path(str(folder / "server.key"))
    (folder / "server.key").chmod(0o600)
    write_keys(folder / "keys.json", [Key(client="shop", tenant="acme", sha256=hashed(API_KEY))])
    options = ["--keys", "keys.json", "--tls-cert", "server.pem", "--tls-key", "server.key"]
    paths = [option if option.startswith("--") else str(folder / option) for option in options]
    served = start_server(exported.folder, folder / "registry", folder / "log", *paths)
    return Guarded(served, folder / "ca.pem")
