"""How a command reaches the server: the options, each written once, and what they become."""

# No `from __future__ import annotations`: typer reads these annotations, on Python 3.9 too.
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from vico_client.settings import TLS, Settings, make_settings

_SERVER = "The server"  # panel of --help

Address = Annotated[
    str,
    typer.Option(
        "--address",
        "-a",
        envvar="VICO_ADDRESS",
        help="gRPC address, host:port; several with commas.",
        rich_help_panel=_SERVER,
    ),
]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds for a request.", rich_help_panel=_SERVER)]
TlsCa = Annotated[
    Optional[Path],
    typer.Option(
        help="TLS: certificates (PEM) to trust; default: VICO_TLS_ROOT_CERTIFICATES.", rich_help_panel=_SERVER
    ),
]
TlsCert = Annotated[
    Optional[Path],
    typer.Option(help="Mutual TLS: our own certificate with its chain (PEM).", rich_help_panel=_SERVER),
]
TlsKey = Annotated[Optional[Path], typer.Option(help="Mutual TLS: its private key (PEM).", rich_help_panel=_SERVER)]
# never on the command line, where every process of the machine can read it
ApiKeyFile = Annotated[
    Optional[Path],
    typer.Option(
        exists=True, dir_okay=False, help="File with the API key; default: VICO_API_KEY.", rich_help_panel=_SERVER
    ),
]


@dataclass(frozen=True)
class Access:
    """Of one command. address: one or several with commas; timeout: seconds.

    api_key: None = that of VICO_API_KEY, "" = none.
    """

    address: str
    timeout: float
    tls_ca: Optional[Path] = None
    tls_cert: Optional[Path] = None
    tls_key: Optional[Path] = None
    api_key: Optional[str] = None

    @property
    def tls(self) -> Optional[TLS]:
        """None: what the environment says."""
        return tls_of(self.tls_ca, self.tls_cert, self.tls_key)

    def arguments(self) -> dict[str, Any]:
        """Of `Client` and `AsyncClient`."""
        return {"address": self.address, "timeout": self.timeout, "tls": self.tls, "api_key": self.api_key}

    def settings(self) -> Settings:
        """InvalidRequest names what is wrong."""
        return make_settings(**self.arguments())


def access_of(given: Mapping[str, Any]) -> Access:
    """given: a command's parameters by name. InvalidRequest if a file holds no key."""
    names = ("address", "timeout", "tls_ca", "tls_cert", "tls_key")
    return Access(**{name: given[name] for name in names}, api_key=key_of(given["api_key_file"]))


def tls_of(ca: Optional[Path], cert: Optional[Path], key: Optional[Path]) -> Optional[TLS]:
    """None: what the environment says."""
    return TLS(root_certificates=ca, private_key=key, certificate_chain=cert) if ca or cert or key else None


def key_of(file: Optional[Path]) -> Optional[str]:
    """The key in the file; None without a file."""
    # older releases of typer give text
    return None if file is None else Path(file).read_text(encoding="utf-8", errors="replace").strip()
