"""How to reach the servers: addresses, TLS, API key, deadline; what is not given comes from the environment."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Union

import grpc

from vico_client.errors import InvalidRequest, VicoWarning

DEFAULT_ADDRESS = "localhost:8001"
DEFAULT_TIMEOUT = 120.0  # seconds
USER_HEADER = "vico-user"
Addresses = Union[str, Sequence[str]]

_SCHEME = re.compile(r"[a-z]+://|https?:|grpcs?:")
_KEY = re.compile(r"[!-~]+")  # what an HTTP header can hold
_LOOPBACK = re.compile(r"(ipv[46]:)?(localhost|127\.[0-9.]+|\[::1\]|::1)(:[0-9]+)?|unix:.*")


@dataclass(frozen=True)
class TLS:
    """Encrypt the connection. Paths of PEM files; without `root_certificates` those that gRPC ships are trusted.

    For mutual TLS give `private_key` and `certificate_chain` too.
    """

    root_certificates: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None

    def credentials(self) -> Any:
        """gRPC's channel credentials. InvalidRequest names a file that is not there."""
        if (self.private_key is None) != (self.certificate_chain is None):
            absent = "private_key" if self.private_key is None else "certificate_chain"
            raise InvalidRequest("absent", field=absent, hint="both of private_key and certificate_chain, or neither")
        contents = {spec.name: _pem(spec.name, getattr(self, spec.name)) for spec in fields(self)}
        return grpc.ssl_channel_credentials(**contents)


@dataclass(frozen=True)
class Settings:
    """Of one client. addresses: `host:port` each. timeout: seconds, for calls that name none."""

    addresses: tuple[str, ...]
    timeout: float
    tls: TLS | None
    api_key: str | None = field(repr=False)
    user: str | None = field(default=None, repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Headers of every call."""
        return key_metadata(self.api_key) + user_metadata(self.user)

    def acting_for(self, api_key: str | None, user: str | None) -> Settings:
        """The same servers with another key; InvalidRequest if it is none."""
        changed = replace(self, api_key=key_from(api_key or "", {}), user=user)
        warn_of_key_in_the_clear(changed)
        return changed


def make_settings(
    address: Addresses | None = None,
    timeout: float | None = None,
    tls: TLS | None = None,
    api_key: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """What is None is taken from the environment, then from the defaults.

    VICO_ADDRESS (several with commas), VICO_TIMEOUT (seconds), VICO_API_KEY; any of VICO_TLS_ROOT_CERTIFICATES,
    VICO_TLS_PRIVATE_KEY, VICO_TLS_CERTIFICATE_CHAIN, or VICO_TLS=1, switches TLS on.
    Raises InvalidRequest, which names what is wrong.
    """
    given = address if address is not None else environment.get("VICO_ADDRESS") or DEFAULT_ADDRESS
    seconds = timeout if timeout is not None else _number(environment.get("VICO_TIMEOUT"))
    settings = Settings(
        checked_addresses(given),
        checked_timeout(seconds, DEFAULT_TIMEOUT),
        tls or _tls_of(environment),
        key_from(api_key, environment),
    )
    warn_of_key_in_the_clear(settings)
    return settings


def warn_of_key_in_the_clear(settings: Settings) -> None:
    """At the line that makes the client."""
    if settings.api_key and not settings.tls and not all(_LOOPBACK.fullmatch(name) for name in settings.addresses):
        text = "the API key travels unencrypted: give tls, unless something else encrypts the connection"
        warnings.warn(VicoWarning("api_key_in_the_clear", text), stacklevel=4)


def checked_addresses(given: Addresses) -> tuple[str, ...]:
    """One or several `host:port`, in the given order, each once; a text may hold several with commas between."""
    names = [name.strip() for name in (given.split(",") if isinstance(given, str) else given)]
    for name in names or [""]:
        if not name or _SCHEME.match(name):
            raise InvalidRequest(f"{name!r} is not a gRPC address", field="address", hint="host:port")
    return tuple(dict.fromkeys(names))


def checked_timeout(timeout: float | None, default: float) -> float:
    """Seconds; `default` for None."""
    seconds = default if timeout is None else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise InvalidRequest(f"{seconds!r} is not a duration", field="timeout", hint="seconds, more than 0 and finite")
    return float(seconds)


def key_from(given: str | None, environment: Mapping[str, str]) -> str | None:
    """The API key; None if there is none: "" says so whatever the environment holds."""
    key = environment.get("VICO_API_KEY") if given is None else given
    if key and not _KEY.fullmatch(key):
        # never its content: error texts end in logs
        raise InvalidRequest("not an API key", field="api_key", hint="the text that `vico keys add` printed")
    return key or None


def key_metadata(key: str | None) -> tuple[tuple[str, str], ...]:
    """The header that shows an API key."""
    return (("authorization", f"Bearer {key}"),) if key else ()


def user_metadata(user: str | None) -> tuple[tuple[str, str], ...]:
    """The header that tells a client's users apart; the server learns no name, only whether two are the same."""
    return ((USER_HEADER, sha256(user.encode("utf-8", "replace")).hexdigest()[:32]),) if user else ()


def _number(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(f"VICO_TIMEOUT is {text!r}", field="timeout", hint="a number of seconds") from None


def _tls_of(environment: Mapping[str, str]) -> TLS | None:
    files = {spec.name: environment.get(f"VICO_TLS_{spec.name.upper()}") or None for spec in fields(TLS)}
    if any(files.values()) or environment.get("VICO_TLS", "").lower() in ("1", "true", "yes", "on"):
        return TLS(**files)
    return None


def _pem(name: str, path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError:
        problem = f"no file at {os.fspath(path)!r}"
        raise InvalidRequest(problem, field=name, hint="the path of a readable PEM file") from None
